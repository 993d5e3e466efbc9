"""Snapshots of a container: what tenants send, and what the service answers."""

from datetime import datetime

from pydantic import Field

from pve402.schemas.wire import NewRequest, SnapshotState, Wire


class SnapshotRequest(NewRequest):
    """A snapshot to take."""

    name: str = Field(
        description="A letter, then 1 to 39 letters, digits, - and _.",
        examples=["before-upgrade"],
    )


class SnapshotItem(Wire):
    """A snapshot of a container's disk and options."""

    name: str
    state: SnapshotState = Field(
        description="`there` once it was taken. During `rolling_back` the container is down."
    )
    created_at: datetime
    problem: str | None = Field(
        default=None,
        description=(
            "Code of what last kept it from being taken, deleted or rolled back to:"
            " `container_locked`, `snapshots_not_possible`, `snapshot_failed` or"
            " `snapshot_not_deleted`; null if nothing did."
        ),
    )
    minute_usd: str = Field(
        default="0", description="USD a minute that the lease burns for it until it is gone."
    )


class SnapshotsAnswer(Wire):
    """The snapshots of a container."""

    snapshots: list[SnapshotItem]
    at_most: int = Field(description="How many a container may have; 0 if none are taken.")
    possible: bool | None = Field(
        description=(
            "Whether the storage of its disk takes snapshots; null after a deletion if Proxmox VE"
            " could not be asked."
        )
    )
    next_minute_usd: str = Field(
        default="0", description="USD a minute that the lease would burn for another one."
    )
    rollback_stops: bool = Field(
        default=True, description="Whether the container is stopped to be rolled back."
    )
