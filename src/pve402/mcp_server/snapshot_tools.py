"""Tools for snapshots of a box's disk: list, take, roll back, delete."""

from typing import Final

from pve402 import client, schemas
from pve402.mcp_server import answers, showing, texts
from pve402.mcp_server.arguments import Name, SnapshotName
from pve402.mcp_server.desk import Desk

_MOST: Final = 50
_FOLLOWING: Final = {
    "there": "`roll_back` comes back to it, `fork` and `save_image` copy it; while it is kept it"
    " burns `minute_usd`.",
    "failed": "The box is as it was; `problem` says why.",
}
_GOES_ON: Final = "It goes on by itself; `list_snapshots` shows when it is `there`."
_ROLLED_BACK: Final = "The box has its disk of then. `run` what it needs to go on."


class SnapshotTools:
    """What agents do to come back to a state of a box."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_snapshots(self, lease: Name) -> answers.Snapshots:
        """List the snapshots of a box, and whether it can have more. Free."""
        async with self._desk.box(lease) as (service, found):
            return _listed(await client.snapshots.show(service, found))

    async def take_snapshot(self, lease: Name, snapshot: SnapshotName) -> answers.TakenSnapshot:
        """Keep the state of a box's disk, to come back to by `roll_back`; the box runs on.

        Nothing is paid; where the service has a rate for it, the paid time is used up faster.
        """
        async with self._desk.box(lease) as (service, found):
            taken = await client.snapshots.take(service, found, snapshot)
        return answers.TakenSnapshot(
            snapshot=_item(taken), next=_FOLLOWING.get(taken.state, _GOES_ON)
        )

    async def roll_back(self, lease: Name, snapshot: SnapshotName) -> answers.TakenSnapshot:
        """Give a box its disk of a snapshot. What was written since is lost, and commands end."""
        async with self._desk.box(lease) as (service, found):
            gone_to = await client.snapshots.roll_back(service, found, snapshot)
        following = _ROLLED_BACK if gone_to.state == "there" else _GOES_ON
        return answers.TakenSnapshot(snapshot=_item(gone_to), next=following)

    async def delete_snapshot(self, lease: Name, snapshot: SnapshotName) -> answers.Snapshots:
        """Delete a snapshot of a box; shows those that are left."""
        async with self._desk.box(lease) as (service, found):
            return _listed(await client.snapshots.delete(service, found, snapshot))


def _listed(found: schemas.SnapshotsAnswer) -> answers.Snapshots:
    return answers.Snapshots(
        snapshots=[_item(one) for one in found.snapshots[:_MOST]],
        left_out=max(0, len(found.snapshots) - _MOST),
        at_most=found.at_most,
        possible=found.possible,
        next_minute_usd=texts.word(found.next_minute_usd),
    )


def _item(one: schemas.SnapshotItem) -> answers.Snapshot:
    return answers.Snapshot(
        name=texts.word(one.name),
        state=one.state,
        problem=None if one.problem is None else texts.word(one.problem),
        created_at=showing.moment(one.created_at),
        minute_usd=texts.word(one.minute_usd),
    )
