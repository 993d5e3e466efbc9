"""What orders buy. An intent keeps it as its wish, so that a later process can finish the order:

{"lease": {...}}                      a box
{"renew": leaseId, "minutes": 60}     more time for a lease
{"fork": leaseId, "request": {...}}   copies of a box, each a lease
{"save": leaseId, "image": {...}}     a private image of a box
{"keep": imageId, "minutes": 60}      more time for a private image

Each has `cap_usd` beside it.
"""

from typing import Any

from pve402 import client, schemas
from pve402.client import refusals
from pve402.sdk import paying, wishes

Answer = schemas.LeaseAnswer | schemas.SavedImageAnswer
Wish = dict[str, Any]


def path(wish: Wish) -> str:
    """The path that is paid, by which the spend ledger knows the payment."""
    match wish:
        case {"renew": lease_id}:
            return f"/lease/{lease_id}/renew"
        case {"fork": lease_id}:
            return f"/lease/{lease_id}/fork"
        case {"save": lease_id}:
            return f"/lease/{lease_id}/image"
        case {"keep": image_id}:
            return f"/images/private/{image_id}/renew"
        case _:
            return "/lease/container"


async def prepared(
    service: client.Client, key: str | None, once: str, wish: Wish
) -> paying.Buy[Any]:
    """What buys it with this Idempotency-Key. What it asks for itself, it asks before it pays."""
    match wish:
        case {"renew": lease_id, "minutes": minutes}:
            await _authorize(service, lease_id)
            return lambda so_far: service.renew(
                lease_id, minutes, idempotency_key=once, on_progress=so_far.note_sent
            )
        case {"fork": lease_id, "request": request}:
            await _authorize(service, lease_id)
            copies = schemas.ForkRequest(**request)
            return lambda so_far: client.forks.fork(
                service, lease_id, copies, idempotency_key=once, on_progress=so_far.note
            )
        case {"save": lease_id, "image": image}:
            await _authorize(service, lease_id)
            return lambda so_far: client.private_images.save(
                service, lease_id, **image, idempotency_key=once, on_progress=so_far.note_sent
            )
        case {"keep": image_id, "minutes": minutes}:
            return lambda so_far: client.private_images.renew(
                service, image_id, minutes, idempotency_key=once, on_progress=so_far.note_sent
            )
    fields = {**schemas.LeaseRequest(**wish["lease"]).model_dump(), "password": None}
    box = await wishes.lease(service, key, once, **fields)
    return lambda so_far: service.lease(box, idempotency_key=once, on_progress=so_far.note)


async def _authorize(service: client.Client, lease_id: str) -> None:
    """Have a token that opens a lease. Once it has ended, its own opens nothing, but the wallet's.

    Otherwise the service would refuse the token, which reads as if it had not taken the payment.
    """
    try:
        await service.show(lease_id)
    except refusals.LeaseOver:
        service.forget(lease_id)
    except client.Refused:  # what was paid may be known all the same
        pass
    await service.authorization(lease_id)
