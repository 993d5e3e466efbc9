"""The file of an OCI image on one node: whether it is there, and whether it can be sold."""

import dataclasses
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, Self

from pve402.domain import rows

PASSED: Final = "passed"
"""The verdict on a file that can be sold; any other is why it cannot."""
VERDICTS: Final[Mapping[str, str]] = {
    PASSED: "on sale",
    "wrong_architecture": "it is for another architecture than the node's",
    "no_shell": "its /bin/sh does not start or does not answer: none, or of another architecture",
    "does_not_live": "a container of it ends by itself: its shell or its `sleep` does not work",
    "not_root": "its shell is not root's: the image names another user",
    "not_unpacked": "it cannot be unpacked on the smallest disk that it is sold with",
}
PROBLEMS: Final[Mapping[str, str]] = {
    "proxmox_too_old": "this Proxmox VE pulls no OCI images; 9.1 is the first that does",
    "no_rights": "the token may not pull images: see the page on rights",
    "no_storage": "the node has no such storage for templates",
    "no_such_image": "the registry has no such image, or no such tag of it",
    "registry_refuses": "the registry wants credentials, and Proxmox VE knows none",
    "registry_unreachable": "the node gets no answer from the registry",
    "storage_full": "the storage has no room left",
    "pull_too_slow": "the pull took longer than two hours and was stopped",
    "outcome_unknown": "Proxmox VE did not say what became of the pull",
    "pull_failed": "the pull failed",
}
"""Why there is no file yet; it is asked for again."""
LONGEST_PULL: Final = timedelta(hours=2)
"""When a pull that goes on is stopped."""


class State(Enum):
    """How far a file is; the values are stored and must not change."""

    WANTED = "wanted"  # to be looked for, and pulled unless it is there
    PULLING = "pulling"  # Proxmox VE was asked to pull it, or is about to be
    TRYING = "trying"  # it is there; a guest made of it is to show what it can do
    TRIED = "tried"  # the verdict stands until the file changes


@dataclasses.dataclass(frozen=True, kw_only=True)
class OciFile:
    """One row: an image's file on a storage, as one node sees it."""

    file_id: str
    node: str
    volume: str
    reference: str
    state: State
    seen: str | None = None  # what tells the file that the verdict is about from another
    verdict: str | None = None
    tried_at: datetime | None = None
    problem: str | None = None
    failures: int = 0  # pulls in a row that came to nothing
    asked_at: datetime | None = None
    upid: str | None = None
    fence: str | None = None
    created_at: datetime
    due_at: datetime | None = None
    attempts: int = 0
    last_error: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build it from a complete row."""
        return rows.made(cls, {**row, "state": State(row["state"])})

    @property
    def storage(self) -> str:
        """The storage that holds the file."""
        return self.volume.partition(":")[0]

    @property
    def is_sellable(self) -> bool:
        """Whether the file that the verdict is about may be sold."""
        return self.verdict == PASSED


def file_id(node: str, volume: str) -> str:
    """Return the key of a file's row."""
    return hashlib.sha256(f"{node}\0{volume}".encode()).hexdigest()[:32]
