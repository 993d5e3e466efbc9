"""What exists under a lease's vmid, and how that keeps a workflow from going on."""

from enum import Enum

from pve402.leases import workflow


class Sight(Enum):
    """What exists under a vmid."""

    ABSENT = "absent"  # no guest
    IN_MAKING = "in making"  # locked for creation; tags are not written yet
    UNFINISHED = "unfinished"  # a clone for this lease that still has its image's tags, down
    FOREIGN = "foreign"  # a guest that does not carry this lease's tags
    STOPPED = "stopped"  # this lease's guest, down
    RUNNING = "running"  # this lease's guest, up


class GuestMovedError(Exception):
    """The lease's guest is on a different node than the lease says, after a migration."""

    def __init__(self, node: str) -> None:
        super().__init__(f"the guest is on node {node}")
        self.node = node


class HalfMadeError(workflow.RetryLater):
    """A guest is locked for creation, and no task is seen that would finish or remove it.

    Just before and just after its task that is so for a moment. If the task was killed it stays so,
    as no call of the API takes the lock away.
    """
