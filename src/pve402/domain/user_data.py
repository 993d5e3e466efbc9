"""A tenant's script that runs once in the new guest of a lease: its bounds, and its fate."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Self

from pve402.domain import errors, rows

MOST_BYTES: Final = 64 * 1024
KEPT_OUTPUT_BYTES: Final = 32 * 1024
UNREADABLE: Final = "unreadable"  # the reason if the key does not open what was kept


class State(Enum):
    """How far a script is; the values are stored and must not change."""

    PENDING = "pending"  # it did not run yet
    STARTING = "starting"  # we asked the guest to run it; the guest knows whether it did
    RUNNING = "running"  # it was seen to run
    EXITED = "exited"  # it ended with a code
    FAILED = "failed"  # it cannot be run in this guest, and never was
    UNKNOWN = "unknown"  # it was begun, and nobody saw its end; it is not run again


OVER: Final = frozenset({State.EXITED, State.FAILED, State.UNKNOWN})


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserData:
    """One row: the script of an order. Times are ours, as we saw it begin and end."""

    order_id: str
    state: State
    needs_network: bool
    exec_id: str | None  # of the detached command that runs it
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    reason: str | None  # a word, unless it exited
    truncated: bool
    fence: str | None
    created_at: datetime
    due_at: datetime | None = None
    attempts: int = 0
    last_error: str | None = None
    sealed_script: bytes | None = dataclasses.field(default=None, repr=False)
    sealed_output: bytes | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build it from a complete row."""
        return rows.made(cls, {**row, "state": State(row["state"])})


def check(script: str) -> None:
    """Raise InvalidUserData, which says why, unless it can be run; never tells of its text."""
    if not script.strip():
        raise errors.InvalidUserData("userData is empty.")
    if len(script.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise errors.InvalidUserData(f"userData must be at most {MOST_BYTES:,} bytes.")
    if "\0" in script:
        raise errors.InvalidUserData("userData has a NUL character.")
