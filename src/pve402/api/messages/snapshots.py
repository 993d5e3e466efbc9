"""Snapshots as answers show them."""

from pve402 import schemas
from pve402.api.messages import prices
from pve402.domain import meter, snapshots
from pve402.leases.alterations.snapshots import Listing


def answer(listing: Listing) -> schemas.SnapshotsAnswer:
    """The snapshots of a lease."""
    return schemas.SnapshotsAnswer(
        snapshots=[item(one) for one in listing.snapshots],
        at_most=listing.at_most,
        possible=listing.are_possible,
        next_minute_usd=prices.usd(listing.next_usd),
    )


def item(one: snapshots.Snapshot) -> schemas.SnapshotItem:
    """One of them."""
    return schemas.SnapshotItem(
        name=one.name,
        state=one.state.value,
        created_at=one.created_at,
        problem=snapshots.told(one.problem),
        minute_usd=prices.usd(meter.minute_usd(one.burn or 0)),
    )
