"""One service, one wallet, one purse: what all tools share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from pve402 import client, schemas
from pve402.client import held, ledger, spending, threads
from pve402.client.wallet import Wallet
from pve402.mcp_server import answers, intents

#: What all agents of a user pay from; the limits of each `pve402 mcp` count it.
PURSE: Final = "mcp"
Key = str | Callable[[], str] | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user chose: the service, the wallet's key or what fetches it, the limits.

    After `patience_seconds` without an outcome, a payment's is said to be unknown.
    """

    url: str
    key: Key = field(repr=False)
    limits: spending.Limits
    patience_seconds: float = 300.0


class Desk:
    """Opens clients of the service, and tells what was spent."""

    def __init__(self, options: Options) -> None:
        self.url = options.url
        self.limits = options.limits
        self.book = ledger.Ledger(purse=PURSE, limits=options.limits)
        self.intents = intents.Intents(options.url)
        self._key = options.key
        self._patience_seconds = options.patience_seconds
        self._fetching = asyncio.Lock()
        self._leases = held.Leases()

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[client.Client]:
        """A client with the tokens that are kept by now, also by other programs."""
        kept = await threads.run(self._leases.of, self.url)
        key = None if self._key is None else self._key_now
        async with client.Client(
            self.url,
            key=key,
            held=kept,
            book=self.book,
            patience_seconds=self._patience_seconds,
        ) as service:
            yield service

    @contextlib.asynccontextmanager
    async def box(self, name: str) -> AsyncIterator[tuple[client.Client, str]]:
        """A client and the lease of this name: leaseId, ctid or host name."""
        async with self.service() as service:
            if not any(one.is_named(name) for one in service.held):
                await self.key()  # the wallet will have to sign in
            yield service, await client.names.resolve(service, name)

    async def key(self) -> str | None:
        """The wallet's key, fetched once and without blocking other calls. Raises KeyInvalid."""
        async with self._fetching:
            if callable(self._key):
                self._key = await threads.run(self._key)
        return self._key

    async def payer(self) -> str:
        """The wallet's address, in lower case; empty without a wallet. Raises KeyInvalid."""
        key = await self.key()
        return Wallet(key).address.lower() if key else ""

    def _key_now(self) -> str:
        """The key for a client that needs it after all. Raises KeyInvalid."""
        if callable(self._key):
            self._key = self._key()
        return self._key or ""

    async def keep(self, lease: schemas.LeaseAnswer) -> None:
        """Keep a new lease's token, so that later programs can use it without the wallet."""
        one = held.Held.of(lease, lease.access_token)
        if one is not None:
            with contextlib.suppress(client.NotesUnusable):  # the wallet opens it, too
                await threads.run(self._leases.keep, self.url, one)

    async def forget(self, lease_id: str) -> None:
        """Forget the token of a lease that is over."""
        with contextlib.suppress(client.NotesUnusable):
            await threads.run(self._leases.forget, self.url, lease_id)

    async def spent(self) -> answers.Spent | None:
        """What agents spent so far; None if the ledger cannot be read."""
        try:
            spent = await threads.run(self.book.spent, purse=PURSE)
        except client.LedgerUnusable:
            return None
        return answers.Spent(
            last_hour_usd=spending.usd(spent.last_hour_micro_usd),
            in_all_usd=spending.usd(spent.in_all_micro_usd),
            not_settled_usd=spending.usd(spent.open_micro_usd),
            limit_per_payment_usd=_usd(self.limits.per_call_micro_usd),
            limit_per_hour_usd=_usd(self.limits.per_hour_micro_usd),
            limit_in_all_usd=_usd(self.limits.in_all_micro_usd),
        )

    async def paid_usd(self, idempotency_key: str, path: str) -> str | None:
        """What was paid with a key; None if that is not in the ledger."""
        sent = await threads.run(self.book.sent_for, idempotency_key, self.url, path)
        payments = await threads.run(self.book.payments, most=_LOOKED_AT) if sent else []
        found = [one for one in payments if sent and one.payment_id == sent.payment_id]
        return spending.usd(found[0].micro_usd) if found else None


_LOOKED_AT: Final = 200


def _usd(micro_usd: int | None) -> str | None:
    return None if micro_usd is None else spending.usd(micro_usd)
