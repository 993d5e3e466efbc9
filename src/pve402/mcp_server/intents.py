"""Orders that were begun, on disk: one that a kill interrupted is finished, not paid again.

An intent is written before anything is signed, and removed once the outcome is known. The
payment itself is in the spend ledger, by the intent's idempotency key.
"""

import json
import time
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

from pve402.client import address, private

_VERSIONS: Final = (
    """
CREATE TABLE intents (
    origin TEXT NOT NULL,
    order_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    wish TEXT NOT NULL,
    PRIMARY KEY (origin, order_id)
)
""",
    "ALTER TABLE intents ADD COLUMN begun_at INTEGER NOT NULL DEFAULT 0",
)


@dataclass(frozen=True, kw_only=True)
class Intent:
    """An order: its name, the key that makes it one, and what was asked for, without the password.

    `begun_at` is in seconds since 1970.
    """

    order_id: str
    idempotency_key: str = field(repr=False)
    wish: dict[str, Any]
    begun_at: int = field(default_factory=lambda: int(time.time()))

    def within(self, cap_usd: Decimal) -> Self:
        """The same order for no more than this."""
        cap = min(cap_usd, Decimal(self.wish["cap_usd"]))
        return replace(self, wish={**self.wish, "cap_usd": str(cap)})


class Intents:
    """The file. Its calls raise NotesUnusable."""

    def __init__(self, url: str, path: Path | None = None) -> None:
        """Take the orders at one service, by default from the user's own file."""
        self._origin = address.origin(url)
        self._path = path or private.state_folder() / "orders.sqlite3"

    def begin(self, intent: Intent) -> Intent:
        """Keep an intent; returns the one of this name that was there before, if there was one."""
        values = (
            *(self._origin, intent.order_id, intent.idempotency_key),
            *(json.dumps(intent.wish), intent.begun_at),
        )
        with private.notes(self._path, _VERSIONS) as database:
            database.execute("INSERT OR IGNORE INTO intents VALUES (?, ?, ?, ?, ?)", values)
        return self.find(intent.order_id) or intent

    def find(self, order_id: str) -> Intent | None:
        """The intent of this name."""
        return next((one for one in self.all() if one.order_id == order_id), None)

    def all(self) -> list[Intent]:
        """All intents, the oldest first."""
        with private.notes(self._path, _VERSIONS) as database:
            rows = database.execute(
                "SELECT * FROM intents WHERE origin = ? ORDER BY rowid", (self._origin,)
            ).fetchall()
        return [
            Intent(
                order_id=row["order_id"],
                idempotency_key=row["idempotency_key"],
                wish=json.loads(row["wish"]),
                begun_at=row["begun_at"],
            )
            for row in rows
        ]

    def remove(self, intent: Intent) -> None:
        """Remove an intent whose outcome is known, and no later one of its name."""
        with private.notes(self._path, _VERSIONS) as database:
            database.execute(
                "DELETE FROM intents WHERE origin = ? AND order_id = ? AND idempotency_key = ?",
                (self._origin, intent.order_id, intent.idempotency_key),
            )
