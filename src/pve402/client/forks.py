"""Copies of a container.

async with client.Client("https://rent.example.com", key="0x...", token="...") as service:
    wish = schemas.ForkRequest(runtime_minutes=60, count=3)
    bought = await client.forks.fork(service, "10001", wish)
"""

from decimal import Decimal
from urllib.parse import quote

from pve402 import schemas
from pve402.client import ledger, prices, transport
from pve402.client.buying import Bought, Progress
from pve402.client.client import Client


async def offer(service: Client, ctid: str, snapshot: str | None = None) -> schemas.ForkOffer:
    """Whether a container, or a snapshot of it, can be copied now.

    Raises KeyNeeded, Refused, ServiceUnreachable.
    """
    path = f"/lease/{ctid}/fork" + (f"?snapshot={quote(snapshot, safe='')}" if snapshot else "")
    async with service.opened("GET", path, ctid, timeout=transport.WHOLE) as answer:
        return transport.read(await transport.read_reply(answer), schemas.ForkOffer)


async def price_usd(service: Client, ctid: str, wish: schemas.ForkRequest) -> Decimal:
    """What all copies cost: as much as new leases of the container's size. Raises as `offer`."""
    lease = await service.show(ctid)
    each = schemas.LeaseRequest(
        sku=lease.sku,
        runtime_minutes=wish.runtime_minutes,
        cores=lease.cores,
        memory_mb=lease.memory_mb,
        disk_gb=lease.disk_gb,
    )
    return prices.offered_usd(await service.quote(each)) * wish.count


async def fork(
    service: Client,
    ctid: str,
    wish: schemas.ForkRequest,
    *,
    idempotency_key: str | None = None,
    on_progress: Progress | None = None,
    cap_usd: Decimal | None = None,
    book: ledger.Ledger | None = None,
) -> Bought[schemas.ForkAnswer]:
    """Lease copies of a container with one payment; uses the tokens of all of them from now on.

    `cap_usd` and `book` are for this call, instead of the client's own. Raises as `Client.lease`.
    """
    await service.authorization(ctid)  # nobody copies a container without a token
    bought = await service.buy(
        f"/lease/{ctid}/fork",
        transport.document(wish),
        schemas.ForkAnswer,
        ctid,
        idempotency_key=idempotency_key,
        on_progress=on_progress,
        cap_usd=cap_usd,
        book=book,
    )
    for one in (bought.answer, *bought.answer.others):
        service.remember(one)
    return bought
