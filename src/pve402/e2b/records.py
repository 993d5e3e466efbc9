"""What the gateway remembers of its sandboxes, on disk, so that a restart forgets none.

A lease is written down as soon as it is bought. The file is this user's alone; a service's words
enter it as a leaseId and numbers only.
"""

import json
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from pve402.client import address, private
from pve402.e2b import refusals

_VERSIONS: Final = (
    """
CREATE TABLE sandboxes (
    sandbox_id TEXT NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    template TEXT NOT NULL,
    started_at REAL NOT NULL,
    ends_at REAL NOT NULL,
    paid_until REAL NOT NULL,
    is_ending INTEGER NOT NULL,
    cores INTEGER NOT NULL,
    memory_mb INTEGER NOT NULL,
    disk_gb INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    envs TEXT NOT NULL
);
CREATE INDEX sandboxes_idempotency_key ON sandboxes (origin, idempotency_key)
""",
    """
ALTER TABLE sandboxes ADD COLUMN renewal_key TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN renewal_minutes INTEGER NOT NULL DEFAULT 0
""",
)


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A sandbox; times are seconds since 1970, `ends_at` is what the program asked for."""

    sandbox_id: str
    idempotency_key: str
    template: str
    started_at: float
    ends_at: float
    paid_until: float
    cores: int
    memory_mb: int
    disk_gb: int
    is_ending: bool = False
    #: The key of a renewal in progress, for as long as its outcome is not known, and what it buys.
    renewal_key: str = ""
    renewal_minutes: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    envs: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row."""
        told = {name: row[name] for name in row.keys() if name != "origin"}  # noqa: SIM118 -- a Row
        texts = {name: json.loads(row[name]) for name in ("metadata", "envs")}
        return cls(**{**told, **texts, "is_ending": bool(row["is_ending"])})

    def is_over(self, now: float) -> bool:
        """Whether it has ended, or is about to."""
        return self.is_ending or now >= min(self.ends_at, self.paid_until)


def moment(seconds: float) -> str:
    """A time as E2B's API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def seconds(text: str) -> float:
    """Read such a time. Raises Refused."""
    try:
        return datetime.fromisoformat(text.replace(" ", "+")).timestamp()
    except (ValueError, OverflowError):
        raise refusals.Refused("invalid_argument", "a time is not in RFC 3339 form") from None


class Records:
    """The sandboxes of one service. Its calls raise NotesUnusable."""

    def __init__(self, url: str, path: Path | None = None) -> None:
        self._origin = address.origin(url)
        self._path = path or private.state_folder() / "e2b.sqlite3"

    def keep(self, one: Sandbox) -> None:
        """Write a new sandbox down."""
        values = (
            *(one.sandbox_id, self._origin, one.idempotency_key, one.template, one.started_at),
            *(one.ends_at, one.paid_until, one.is_ending, one.cores, one.memory_mb, one.disk_gb),
            *(json.dumps(one.metadata), json.dumps(one.envs)),
            *(one.renewal_key, one.renewal_minutes),
        )
        with private.notes(self._path, _VERSIONS) as database:
            database.execute(
                f"INSERT OR REPLACE INTO sandboxes VALUES ({','.join('?' * 15)})",  # noqa: S608
                values,
            )

    def extend(self, sandbox_id: str, ends_at: float, paid_until: float) -> bool:
        """Note when a sandbox ends; false if it is over meanwhile."""
        return self._changed("ends_at = ?, paid_until = ?", (ends_at, paid_until), sandbox_id)

    def begin_renewal(self, sandbox_id: str, key: str, minutes: int) -> bool:
        """Note what is about to be bought; false if the sandbox is over meanwhile."""
        return self._changed("renewal_key = ?, renewal_minutes = ?", (key, minutes), sandbox_id)

    def end_renewal(self, sandbox_id: str, paid_until: float) -> None:
        """Note that the outcome of a renewal is known, and until when it is paid."""
        values = (paid_until,)
        self._changed("renewal_key = '', paid_until = ?", values, sandbox_id)

    def mark_ending(self, sandbox_id: str) -> bool:
        """Note that a sandbox is over and its lease may not be; false if that is known."""
        return self._changed("is_ending = 1", (), sandbox_id)

    def all(self) -> list[Sandbox]:
        """Every sandbox that is not known to be gone, the newest first.

        Not by their times: those are the service's, told by whole seconds, and may step back.
        """
        with private.notes(self._path, _VERSIONS) as database:
            found = database.execute(
                "SELECT * FROM sandboxes WHERE origin = ? ORDER BY rowid DESC", (self._origin,)
            )
            return [Sandbox.from_row(row) for row in found]

    def forget(self, sandbox_id: str) -> None:
        """Forget a sandbox that is gone."""
        with private.notes(self._path, _VERSIONS) as database:
            database.execute(
                "DELETE FROM sandboxes WHERE origin = ? AND sandbox_id = ?",
                (self._origin, sandbox_id),
            )

    def _changed(self, what: str, values: tuple[float | str, ...], sandbox_id: str) -> bool:
        with private.notes(self._path, _VERSIONS) as database:
            done = database.execute(
                f"UPDATE sandboxes SET {what} WHERE origin = ? AND sandbox_id = ?"  # noqa: S608 -- ours
                " AND is_ending = 0",
                (*values, self._origin, sandbox_id),
            )
            return done.rowcount == 1
