"""Which wallets are new: they were handed no lease before some hours ago.

Wallets cost nothing to make, so a limit for each stops nobody who makes many: there are limits for
all new ones together.
"""

from collections.abc import Sequence

from pve402.domain import account, quota
from pve402.leases import purchases
from pve402.storage import database, transaction, usage_rows

_MOST_REMEMBERED = 50_000


class NewWallets:
    """Tells new wallets from others, and what all of them take up."""

    def __init__(
        self, db: database.Database, networks: tuple[str, ...], for_seconds: float
    ) -> None:
        """Keep the parts; a wallet counts as one on all `networks` (CAIP-2)."""
        self._db = db
        self._networks = networks
        self._for_seconds = for_seconds
        self._others: set[str] = set()  # an account that is not new will never be again

    def accounts_of(self, buyer: purchases.Buyer) -> list[str]:
        """Return the accounts that are certainly the buyer's."""
        if not buyer.by_key:
            return [buyer.owner]
        return account.on_networks(buyer.owner, self._networks)

    async def includes(self, tx: transaction.Transaction, accounts: Sequence[str]) -> bool:
        """Return whether the wallet with these accounts is new."""
        return await usage_rows.is_new_wallet(self._db, tx, accounts, self._for_seconds)

    async def includes_account(self, owner: str, *, by_key: bool) -> bool:
        """Return whether a CAIP-10 account is a new wallet's; those that are not are remembered."""
        if owner in self._others:
            return False
        accounts = account.on_networks(owner, self._networks) if by_key else [owner]
        async with self._db.read() as tx:
            is_new = await self.includes(tx, accounts)
        if not is_new and len(self._others) < _MOST_REMEMBERED:
            self._others.add(owner)
        return is_new

    async def usage(self, tx: transaction.Transaction) -> quota.Usage:
        """Return what the standing leases of all new wallets take up."""
        return await usage_rows.of_new_wallets(self._db, tx, self._for_seconds, self._networks)

    async def unsettled(self, tx: transaction.Transaction, stuck_seconds: float) -> int:
        """Count the open creations of all new wallets that are not paid and not stuck."""
        return await usage_rows.unsettled_of_new_wallets(
            self._db, tx, self._for_seconds, stuck_seconds, self._networks
        )
