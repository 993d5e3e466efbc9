"""Leases that this user has tokens of, kept on disk by service, so that they need no key again.

    kept = held.Leases()
    kept.keep("https://rent.example.com", held.Held.of(bought.answer, bought.answer.access_token))
    client.Client("https://rent.example.com", held=kept.of("https://rent.example.com"))

A service's words enter the file only as a leaseId, a ctid, a host name and a token. A token is
kept for one origin, and goes to no other.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from pve402 import schemas
from pve402.client import address, errors, private

_VERSIONS: Final = (
    """
CREATE TABLE held (
    origin TEXT NOT NULL,
    lease_id TEXT NOT NULL,
    ctid TEXT NOT NULL,
    hostname TEXT NOT NULL,
    token TEXT NOT NULL,
    PRIMARY KEY (origin, lease_id)
)
""",
)
_LEASE_ID: Final = re.compile(r"l[a-z0-9]{25}")
_CTID: Final = re.compile(r"[0-9]{0,10}")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,256}")
_WRITTEN: Final = re.compile(rf"(?:bearer +)?({_TOKEN.pattern})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Held:
    """A lease and its token."""

    lease_id: str
    ctid: str
    hostname: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, answer: schemas.LeaseAnswer | schemas.LeaseItem, token: str | None) -> Self | None:
        """The lease of an answer; None without a token, or if it is not what a service says."""
        ctid, token = answer.ctid or "", token or ""
        is_good = (
            _LEASE_ID.fullmatch(answer.lease_id)
            and _CTID.fullmatch(ctid)
            and _HOST_NAME.fullmatch(answer.hostname)
            and _TOKEN.fullmatch(token)
        )
        if not is_good:
            return None
        return cls(lease_id=answer.lease_id, ctid=ctid, hostname=answer.hostname, token=token)

    def is_named(self, name: str) -> bool:
        """Whether this is the lease's leaseId, ctid or host name."""
        return name in {self.lease_id, self.ctid} or name.lower() == self.hostname.lower()


class Leases:
    """The file. Its calls raise NotesUnusable."""

    def __init__(self, path: Path | None = None) -> None:
        """Take the file, by default the user's own."""
        self._path = path or private.state_folder() / "leases.sqlite3"

    def keep(self, url: str, one: Held) -> None:
        """Keep a lease, in place of what was known of it."""
        values = (address.origin(url), one.lease_id, one.ctid, one.hostname, one.token)
        with private.notes(self._path, _VERSIONS) as database:
            database.execute("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?)", values)

    def of(self, url: str) -> list[Held]:
        """The leases at a service, the newest first."""
        with private.notes(self._path, _VERSIONS) as database:
            found = database.execute(
                "SELECT * FROM held WHERE origin = ? ORDER BY rowid DESC", (address.origin(url),)
            )
            return [
                Held(
                    lease_id=row["lease_id"],
                    ctid=row["ctid"],
                    hostname=row["hostname"],
                    token=row["token"],
                )
                for row in found
            ]

    def forget(self, url: str, lease_id: str) -> None:
        """Forget a lease."""
        with private.notes(self._path, _VERSIONS) as database:
            database.execute(
                "DELETE FROM held WHERE origin = ? AND lease_id = ?",
                (address.origin(url), lease_id),
            )


def checked_token(text: str) -> str:
    """Normalize a token, as people and programs write it, for use in a header."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise errors.TokenInvalid("this cannot be a token of a service")
    return found[1]
