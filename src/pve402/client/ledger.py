"""The spend ledger: what this user's programs paid, on disk, with limits that hold for all of them.

    book = ledger.Ledger(purse="ci", limits=ledger.Limits(in_all_micro_usd=500_000))
    payment = book.reserve(terms)        # before anything is signed; raises OverLimit
    book.note_sent(payment, signed)      # before the signature leaves this process
    book.settle(payment, transaction)    # or refuse, or nothing if the outcome is not known

It is a SQLite file: its transactions survive kills and power cuts, and lock out other processes.

                    +--> RELEASED   the signature never left, or the chain can no longer take it
    RESERVED --> SENT --> SETTLED   the money moved
                    +--> REFUSED    the service says that it did not take it

All of them count as spent, except RELEASED. So what was sent and did not settle, counts until the
chain (reckoning.py) says what became of it. A refusal alone frees nothing, nor does this machine's
clock: a service can refuse what it took, and ask for a payment that is usable for a second.
"""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final

from pve402.client import errors, private, spending

HOUR_SECONDS: Final = 3600
#: How long a reservation may stay unsent: signing takes a second, with its imports three.
RESERVED_SECONDS: Final = 60
MOST_MICRO_USD: Final = 10**15

_FIRST: Final = """
CREATE TABLE payments (
    payment_id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL,
    reserved_at INTEGER NOT NULL,
    purse TEXT NOT NULL,
    service TEXT NOT NULL,
    what TEXT NOT NULL,
    payer TEXT NOT NULL,
    network TEXT NOT NULL,
    asset TEXT NOT NULL,
    amount_atomic TEXT NOT NULL,
    micro_usd INTEGER NOT NULL,
    nonce TEXT NOT NULL DEFAULT '',
    valid_before INTEGER NOT NULL DEFAULT 0,
    tx_hash TEXT NOT NULL DEFAULT '',
    lease_id TEXT NOT NULL DEFAULT ''
);
CREATE INDEX payments_reserved_at ON payments (reserved_at);
CREATE TABLE limits (
    per_call_micro_usd INTEGER,
    per_hour_micro_usd INTEGER,
    in_all_micro_usd INTEGER,
    after_payment_id INTEGER NOT NULL
);
"""
#: What was sent, to send it again for the same key; not part of what `payments` tells.
_SECOND: Final = """
ALTER TABLE payments ADD COLUMN idempotency_key TEXT NOT NULL DEFAULT '';
ALTER TABLE payments ADD COLUMN headers TEXT NOT NULL DEFAULT '';
CREATE INDEX payments_idempotency_key ON payments (idempotency_key)
"""
_LARGEST_HEADERS: Final = 64 * 1024
#: A payment for a key that may be sent again, instead of another one.
_SENT_FOR_IT: Final = """
SELECT 1 FROM payments AS other WHERE other.idempotency_key = nullif(?, '') AND other.headers != ''
AND other.state IN ('sent', 'settled') AND other.service = payments.service
AND other.what = payments.what AND other.payer = payments.payer
"""
_OPEN: Final = "state IN ('sent', 'refused')"


class Ledger:
    """One ledger file. Every call is a transaction of its own; several processes may share it."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        purse: str = "",
        limits: spending.Limits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the file, by default the user's own.

        `limits` are the calling program's and count what it pays from its purse; the limits that
        are kept in the file count everything. Without a purse both count everything.
        """
        self.path = path or default_path()
        self.purse = purse
        self.limits = limits or spending.Limits()
        self._outer: Ledger | None = None
        self._now = now

    def within(self, purse: str, limits: spending.Limits) -> "Ledger":
        """The same file with a purse inside this one: its payments count for the limits of both."""
        inner = Ledger(
            self.path, purse=f"{self.purse}/{purse}".lstrip("/"), limits=limits, now=self._now
        )
        inner._outer = self
        return inner

    def reserve(self, terms: spending.Terms) -> int:
        """Reserve what is about to be signed. Returns its number.

        Raises OverLimit and LedgerUnusable; then nothing may be signed.
        """
        if not 0 <= terms.micro_usd <= MOST_MICRO_USD:
            raise errors.OverLimit("the price is beyond anything that this ledger can hold")
        now = int(self._now())
        with self._transaction() as database:
            database.execute(
                "UPDATE payments SET state = 'released' WHERE state = 'reserved'"
                " AND reserved_at < ?",
                (now - RESERVED_SECONDS,),
            )
            self._check(database, terms.micro_usd, now)
            made = database.execute(
                "INSERT INTO payments (state, reserved_at, purse, service, what, payer, network,"
                " asset, amount_atomic, micro_usd) VALUES ('reserved', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(now, self.purse, terms.service, terms.what, terms.payer, terms.network),
                    *(terms.asset, str(terms.amount_atomic), terms.micro_usd),
                ),
            )
            return int(made.lastrowid or 0)

    def note_sent(self, payment_id: int, signed: spending.Signed) -> None:
        """Note what was signed, before it is sent.

        Raises LedgerUnusable, also if the reservation has lapsed, or another process has sent a
        payment for the same key meanwhile (see `sent_for`); then it may not be sent.
        """
        headers = json.dumps(dict(signed.headers))
        kept = headers if len(headers) <= _LARGEST_HEADERS else ""
        done = self._move(
            payment_id,
            "state = 'sent', nonce = ?, valid_before = ?, idempotency_key = ?, headers = ?",
            (signed.nonce, signed.valid_before, signed.idempotency_key, kept),
            (spending.State.RESERVED,),
            f"AND NOT EXISTS ({_SENT_FOR_IT})",
            (signed.idempotency_key,),
        )
        if not done:
            raise errors.LedgerUnusable(
                "signing took too long, or another program pays for the same order; nothing was"
                " sent, try again"
            )

    def settle(self, payment_id: int, tx_hash: str = "", lease_id: str = "") -> None:
        """Note that the money moved. Raises LedgerUnusable."""
        known = (spending.State.SENT, spending.State.REFUSED)
        told = (errors.plain(tx_hash, 80), errors.plain(lease_id, 64))
        self._move(payment_id, "state = 'settled', tx_hash = ?, lease_id = ?", told, known)

    def refuse(self, payment_id: int) -> None:
        """Note that the service says it did not take the payment. Raises LedgerUnusable."""
        self._move(payment_id, "state = 'refused'", (), (spending.State.SENT,))

    def release(self, payment_id: int) -> None:
        """Give a reservation back that was not sent. Raises LedgerUnusable."""
        self._move(payment_id, "state = 'released'", (), (spending.State.RESERVED,))

    def void(self, payment_id: int) -> None:
        """Note that the chain can never take the payment. Raises LedgerUnusable."""
        self._move(
            payment_id,
            "state = 'released', headers = ''",
            (),
            (spending.State.SENT, spending.State.REFUSED),
        )

    def sent_for(self, idempotency_key: str, service: str, what: str) -> spending.Sent | None:
        """The payment that was sent for a key and that the service did not refuse.

        Raises LedgerUnusable.
        """
        with self._transaction() as database:
            row = database.execute(
                "SELECT payment_id, payer, headers FROM payments WHERE idempotency_key = ?"
                " AND service = ? AND what = ? AND headers != '' AND state IN ('sent', 'settled')"
                " ORDER BY payment_id DESC",
                (idempotency_key, service, what),
            ).fetchone()
        if row is None:
            return None
        headers = json.loads(row["headers"])
        return spending.Sent(payment_id=row["payment_id"], payer=row["payer"], headers=headers)

    def payments(
        self, states: Sequence[spending.State] = tuple(spending.State), *, most: int | None = None
    ) -> list[spending.Payment]:
        """The payments in some states, the newest first. Raises LedgerUnusable."""
        with self._transaction() as database:
            found = database.execute(
                f"SELECT * FROM payments WHERE state IN ({','.join('?' * len(states))})"  # noqa: S608 -- question marks only
                " ORDER BY payment_id DESC LIMIT ?",
                (*(state.value for state in states), -1 if most is None else most),
            )
            return [spending.Payment.from_row(row) for row in found]

    def spent(self, *, purse: str | None = None) -> spending.Spent:
        """What counts as spent, from one purse or in all. Raises LedgerUnusable."""
        now = int(self._now())
        with self._transaction() as database:
            return spending.Spent(
                last_hour_micro_usd=_sum(database, purse or "", now - HOUR_SECONDS, 0),
                in_all_micro_usd=_sum(database, purse or "", None, 0),
                open_micro_usd=_sum(database, purse or "", None, 0, _OPEN),
            )

    def kept_limits(self) -> spending.Limits:
        """The limits that are kept in the file. Raises LedgerUnusable."""
        with self._transaction() as database:
            return _kept(database)[0]

    def keep_limits(self, limits: spending.Limits, *, restart: bool = True) -> None:
        """Keep limits for everybody who uses this file.

        With `restart`, `in_all_micro_usd` counts from now on, and what was paid before is
        forgotten. Raises LedgerUnusable.
        """
        with self._transaction() as database:
            (after,) = database.execute(
                "SELECT coalesce(max(payment_id), 0) FROM payments"
            ).fetchone()
            if not restart:
                _, after = _kept(database)
            database.execute("DELETE FROM limits")
            database.execute(
                "INSERT INTO limits VALUES (?, ?, ?, ?)",
                (
                    limits.per_call_micro_usd,
                    limits.per_hour_micro_usd,
                    limits.in_all_micro_usd,
                    after,
                ),
            )

    def _check(self, database: sqlite3.Connection, price: int, now: int) -> None:
        """Raise OverLimit if a price breaks a limit of the file or of this program."""
        kept, after = _kept(database)
        for limits, purse, after_id in ((kept, "", after), *self._own_limits()):
            _refuse_over(price, limits.per_call_micro_usd, "for one payment", 0, 0)
            for limit, of_what, since, later_than in (
                (limits.per_hour_micro_usd, "an hour", now - HOUR_SECONDS, 0),
                (limits.in_all_micro_usd, "in all", None, after_id),
            ):
                spent = _sum(database, purse, since, later_than)
                not_settled = _sum(database, purse, since, later_than, _OPEN)
                _refuse_over(price, limit, of_what, spent, not_settled)

    def _own_limits(self) -> Iterator[tuple[spending.Limits, str, int]]:
        yield self.limits, self.purse, 0
        if self._outer is not None:
            yield from self._outer._own_limits()

    def _move(
        self,
        payment_id: int,
        change: str,
        values: Sequence[object],
        states: Sequence[spending.State],
        condition: str = "",
        compared: Sequence[object] = (),
    ) -> bool:
        """Change a payment that is in one of these states; false if it is in none of them.

        A `condition` on the payment, with the values that it compares, must hold as well.
        """
        names = ",".join(f"'{state.value}'" for state in states)
        with self._transaction() as database:
            done = database.execute(
                f"UPDATE payments SET {change} WHERE payment_id = ? AND state IN ({names})"  # noqa: S608 -- our words only
                f" {condition}",
                (*values, payment_id, *compared),
            )
            return done.rowcount == 1

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Lock the file for the block, and write what it did to the disk."""
        try:
            with private.transaction(self.path, (_FIRST, _SECOND)) as database:
                yield database
        except (sqlite3.Error, OSError, ValueError) as error:
            reason = errors.plain(error, 200)
            raise errors.LedgerUnusable(
                f"the spend ledger {self.path} cannot be used: {reason}"
            ) from None


def default_path() -> Path:
    """The user's ledger: PVE402_LEDGER, or a file in the XDG state folder."""
    if given := os.environ.get("PVE402_LEDGER"):
        return Path(given)
    return private.state_folder() / "spending.sqlite3"


def _kept(database: sqlite3.Connection) -> tuple[spending.Limits, int]:
    row = database.execute("SELECT * FROM limits").fetchone()
    if row is None:
        return spending.Limits(), 0
    limits = {field.name: row[field.name] for field in fields(spending.Limits)}
    return spending.Limits(**limits), row["after_payment_id"]


def _sum(
    database: sqlite3.Connection,
    purse: str,
    since: int | None,
    after_id: int,
    which: str = "state != 'released'",
) -> int:
    (total,) = database.execute(
        f"SELECT coalesce(sum(micro_usd), 0) FROM payments WHERE {which}"  # noqa: S608 -- our words only
        " AND (:purse IN ('', purse) OR substr(purse, 1, length(:purse) + 1) = :purse || '/')"
        " AND payment_id > :after_id"
        " AND (:since IS NULL OR reserved_at > :since)",
        {"purse": purse, "since": since, "after_id": after_id},
    ).fetchone()
    return int(total)


def _refuse_over(price: int, limit: int | None, of_what: str, spent: int, not_settled: int) -> None:
    if limit is not None and spent + price > limit:
        known = f"; {spending.usd(spent)} USD of it are spent" if spent else ""
        ask = (
            f", {spending.usd(not_settled)} USD by payments whose outcome only the chain knows:"
            " `pve402 wallet spent` asks it"
        )
        raise errors.OverLimit(
            f"{spending.usd(price)} USD is over the limit of {spending.usd(limit)} USD"
            f" {of_what}{known}{ask if not_settled else ''}"
        )
