"""Refuses purchases by wallets and client addresses that the operator has blocked.

The rules are rows, so replicas agree and no restart is needed; each replica reads them again after
a few seconds. While the database cannot be read, the last rules apply.
"""

import time

from pve402.domain import account, blocklist, errors, lease
from pve402.leases import purchases
from pve402.storage import block_rows, database

FRESH_SECONDS = 5.0
_OWNER_BLOCKED = (
    "The operator sells nothing more to the wallet that owns this lease. If you think that this is"
    " a mistake, ask the operator. Nothing was charged."
)


class Blocks:
    """The current rules."""

    def __init__(self, db: database.Database) -> None:
        self._db = db
        self._rules: blocklist.Blocklist | None = None
        self._read_at = float("-inf")

    async def check(self, client_address: str | None, wallet: str | None = None) -> None:
        """Raise AddressBlocked or WalletBlocked if the client may buy nothing.

        `wallet` is the payer's EVM address, None if it is not known yet. Raises
        DatabaseUnavailable if the rules were never read.
        """
        rules = await self._current()
        if client_address is not None and rules.blocks_address(client_address):
            raise errors.AddressBlocked
        if wallet is not None and rules.blocks_wallet(wallet):
            raise errors.WalletBlocked

    async def check_purchase(self, purchase: purchases.Purchase) -> None:
        """Raise AddressBlocked or WalletBlocked for a purchase by a client who may buy nothing."""
        await self.check(purchase.client_address, account.address_of(purchase.owner))

    async def check_owner(self, row: lease.Lease) -> None:
        """Raise WalletBlocked if a lease's owner may buy nothing, whoever pays for it."""
        if (await self._current()).blocks_wallet(account.address_of(row.account)):
            raise errors.WalletBlocked(_OWNER_BLOCKED)

    async def _current(self) -> blocklist.Blocklist:
        last = self._rules
        if last is not None and time.monotonic() - self._read_at <= FRESH_SECONDS:
            return last
        if last is not None:
            self._read_at = time.monotonic()  # first, so that not every request reads at once
        try:
            async with self._db.read() as tx:
                self._rules = blocklist.Blocklist(await block_rows.list_all(tx))
        except errors.DatabaseUnavailable:
            if last is None:
                raise
            return last
        self._read_at = time.monotonic()
        return self._rules
