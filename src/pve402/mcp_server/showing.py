"""Answers made of what the service says: names and numbers as words, lists bounded."""

from datetime import datetime
from typing import Final

from pve402 import client, schemas
from pve402.mcp_server import answers, orders, texts

MOST_WORDS: Final = 10
READY_TO_USE: Final = "Use it with `run`, `write_file` and `read_file`; `end` it when you are done."
_OVER: Final = "It is over. `lease` orders a new box, also under this name."
_COPIES: Final = (
    "Use each by its name or lease_id, and `end` those that you no longer need. One that is"
    " `failed` is owed to the user: `pve402 owed` lists it."
)


async def order(placed: orders.Order, wait_seconds: float) -> answers.Bought:
    """How an order ended, or that it goes on. Raises what it failed with."""
    done = await placed.wait(wait_seconds)
    if done is None:
        return answers.Bought(
            state="in_progress",
            order_id=placed.order_id,
            note=placed.note,
            next="It goes on by itself. `check_order` waits for it; do not order again.",
        )
    bought = [_bought(one, is_new=placed.kind != "renew") for one in done.leases]
    is_fork = placed.kind == "fork"
    return answers.Bought(
        state="done",
        order_id=placed.order_id,
        paid_usd=done.paid_usd,
        lease=bought[0] if bought and not is_fork else None,
        copies=bought if is_fork else [],
        image=None if done.image is None else image(done.image),
        note=placed.note,
        next=_following(done, is_fork=is_fork),
    )


def _following(done: orders.Done, *, is_fork: bool) -> str:
    if done.image is not None:
        return lease_from(done.image)
    if is_fork:
        return _COPIES
    is_over = all(one.status in client.names.OVER for one in done.leases)
    return _OVER if is_over else READY_TO_USE


def lease(one: schemas.LeaseItem, now: datetime) -> answers.Lease:
    """A lease as it is."""
    return _described(one, client.names.guest_state(one), now)


def _bought(one: schemas.LeaseAnswer, *, is_new: bool) -> answers.Lease:
    """A lease that was bought: it runs, but one that was renewed may be stopped or paused."""
    return _described(one, "running" if is_new and one.status == "active" else "unknown", None)


def _described(
    one: schemas.LeaseItem | schemas.LeaseAnswer, guest: str, now: datetime | None
) -> answers.Lease:
    left = None
    if now and one.expires_at and one.expires_at.tzinfo:
        left = max(0, int((one.expires_at - now).total_seconds() // 60))
    return answers.Lease(
        lease_id=texts.word(one.lease_id),
        name=texts.word(one.hostname),
        status=one.status,
        guest=guest,
        network=one.network_status,
        expires_at=moment(one.expires_at),
        minutes_left=left,
        sku=texts.word(one.sku),
        cores=one.cores,
        memory_mb=one.memory_mb,
        disk_gb=one.disk_gb,
        addresses=[texts.word(each.address) for each in one.addresses[:MOST_WORDS]],
    )


def image(one: schemas.PrivateImageItem) -> answers.Image:
    """A private image."""
    return answers.Image(
        name=texts.word(one.name),
        template=texts.word(one.template),
        status=one.status,
        sku=texts.word(one.sku),
        disk_gb=one.disk_gb,
        minute_usd=texts.word(one.minute_usd),
        expires_at=moment(one.expires_at),
        deletes_at=moment(one.deletes_at),
    )


def lease_from(one: schemas.PrivateImageItem) -> str:
    """How boxes are leased from an image."""
    return (
        f"`lease` with sku {texts.word(one.sku)}, disk_gb {one.disk_gb} or more and this template"
        " makes boxes from it; `renew` with this template keeps it longer."
    )


def moment(at: datetime | None) -> str | None:
    """A time, in UTC."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
