"""Snapshots of a box."""

from pve402 import client, schemas


class AsyncSnapshots:
    """States of a box's disk to come back to; they are deleted with it."""

    def __init__(self, service: client.Client, lease_id: str) -> None:
        self._service = service
        self._lease_id = lease_id

    async def show(self) -> schemas.SnapshotsAnswer:
        """What snapshots there are, and whether more can be taken.

        Raises Refused, ServiceUnreachable.
        """
        return await client.snapshots.show(self._service, self._lease_id)

    async def take(self, name: str) -> schemas.SnapshotItem:
        """Take a snapshot of the disk; the box runs on. Raises as `show`."""
        return await client.snapshots.take(self._service, self._lease_id, name)

    async def delete(self, name: str) -> None:
        """Delete a snapshot. Raises as `show`."""
        await client.snapshots.delete(self._service, self._lease_id, name)

    async def roll_back(self, name: str) -> schemas.SnapshotItem:
        """Stop the box, give it its disk of then, and start it again. Raises as `show`."""
        return await client.snapshots.roll_back(self._service, self._lease_id, name)
