"""Snapshots as answers show them."""

from pve402 import schemas
from pve402.domain import snapshots
from pve402.leases.snapshots import Listing


def answer(listing: Listing) -> schemas.SnapshotsAnswer:
    """The snapshots of a lease."""
    return schemas.SnapshotsAnswer(
        snapshots=[item(one) for one in listing.snapshots],
        at_most=listing.at_most,
        possible=listing.are_possible,
    )


def item(one: snapshots.Snapshot) -> schemas.SnapshotItem:
    """One of them."""
    return schemas.SnapshotItem(
        name=one.name,
        state=one.state.value,
        created_at=one.created_at,
        problem=snapshots.told(one.problem),
    )
