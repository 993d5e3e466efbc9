"""Holds addresses, wallets and all new wallets together to requests a minute, over all replicas.

A replica counts in memory, adds what it counted to rows every second, and learns there what the
others counted. So a party that asks several replicas at once gets at most a second's requests more.
Nothing is counted unless the operator set a limit.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator

import structlog

from pve402.domain import account, errors
from pve402.leases import new_wallets, purchases, rounds
from pve402.storage import database, rate_rows

log = structlog.get_logger(__name__)

_MINUTE_SECONDS = 60
_INTERVAL_SECONDS = 1.0
_AT_ONCE = 500  # parties in one statement
_NEW_WALLETS = "new wallets"

MOST_PARTIES = 50_000
"""Counted at a time; further ones are not held to the limit."""


@dataclasses.dataclass(kw_only=True)
class _Count:
    """The requests of one party in this minute."""

    known: int = 0  # written to the rows, by all replicas
    fresh: int = 0  # not written yet


class RequestRates:
    """Counts requests, and refuses those beyond the limits."""

    def __init__(
        self,
        db: database.Database,
        *,
        of_address: int | None = None,
        of_wallet: int | None = None,
        of_new_wallets: int | None = None,
        who_is_new: new_wallets.NewWallets | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the limits, None for no limit; `clock` counts until the database's is known."""
        self._db = db
        self.of_address = of_address
        self.of_wallet = of_wallet
        self.of_new_wallets = of_new_wallets
        self._who_is_new = who_is_new
        self.clock = clock
        self._ahead_seconds = 0.0  # of the database's clock
        self._minute = -1
        self._counts: dict[str, _Count] = {}
        self._rounds = rounds.Rounds("request-rates", self._share, _INTERVAL_SECONDS)

    def start(self) -> None:
        """Share the counts with other replicas, if anything is counted."""
        if {self.of_address, self.of_wallet, self.of_new_wallets} != {None}:
            self._rounds.start(with_pause=True)

    async def stop(self) -> None:
        """Stop sharing."""
        await self._rounds.stop()

    def count_address(self, address: str) -> None:
        """Count a request of an address or IPv6 subnet. Raises RateLimited."""
        if self.of_address is not None:
            self._add(f"address {address}", self.of_address, "one address")

    async def count_caller(self, owner: str, *, by_key: bool) -> None:
        """Count a request of a proven wallet, a CAIP-10 account. Raises RateLimited."""
        if self.of_wallet is not None:
            self._add(f"wallet {account.address_of(owner)}", self.of_wallet, "one wallet")
        await self._count_new(owner, by_key=by_key)

    async def count_payer(self, payer: purchases.Buyer) -> None:
        """Count a request of an account that is to pay for it. Raises RateLimited.

        Anybody can name another's contract wallet, so only a payer's own key uses up its requests.
        """
        if payer.by_key:
            await self.count_caller(payer.owner, by_key=True)
        else:
            await self._count_new(payer.owner, by_key=False)

    async def _count_new(self, owner: str, *, by_key: bool) -> None:
        who, limit = self._who_is_new, self.of_new_wallets
        if who is None or limit is None:
            return
        if await who.includes_account(owner, by_key=by_key):
            self._add(_NEW_WALLETS, limit, "all new wallets together")

    async def share(self) -> None:
        """Add what was counted to the rows, and learn what other replicas counted."""
        minute, fresh = self._minute, dict(self._taken())
        async with self._db.begin() as tx:
            for part in _batches(fresh):
                totals = await rate_rows.add(self._db, tx, minute, part)
                self._learn(minute, totals)
            await rate_rows.forget(tx, minute - 1)
            now = await self._db.time_in(tx)
        self._ahead_seconds = now.timestamp() - self.clock()

    def _add(self, party: str, limit: int, whose: str) -> None:
        minute, second = divmod(self.clock() + self._ahead_seconds, _MINUTE_SECONDS)
        if minute != self._minute:
            self._minute, self._counts = int(minute), {}
        count = self._counts.get(party)
        if count is None:
            if len(self._counts) >= MOST_PARTIES and party != _NEW_WALLETS:
                return
            count = self._counts[party] = _Count()
        if count.known + count.fresh >= limit:
            wait = math.ceil(_MINUTE_SECONDS - second)
            raise errors.RateLimited(
                f"This service answers at most {limit} requests a minute of {whose}; ask again in"
                f" {wait} seconds. Nothing was charged.",
                retry_after_seconds=wait,
            )
        count.fresh += 1

    def _taken(self) -> Iterator[tuple[str, int]]:
        """Yield what is to be written, and count it as written."""
        for party, count in self._counts.items():
            if count.fresh:
                yield party, count.fresh
                count.known, count.fresh = count.known + count.fresh, 0

    def _learn(self, minute: int, totals: dict[str, int]) -> None:
        if minute != self._minute:
            return
        for party, total in totals.items():
            self._counts[party].known = max(self._counts[party].known, total)

    async def _share(self) -> None:
        if self._counts:
            await self.share()


def _batches(counts: dict[str, int]) -> Iterator[dict[str, int]]:
    parties = sorted(counts)  # in one order, so that two replicas do not wait for each other
    for first in range(0, len(parties), _AT_ONCE):
        yield {party: counts[party] for party in parties[first : first + _AT_ONCE]}
