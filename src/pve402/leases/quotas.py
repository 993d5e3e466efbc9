"""Holds wallets, client addresses and new wallets to what the operator lets them lease at a time.

The usage is summed from the rows in the creation's own transaction, in which placements take turns,
so concurrent creations on several replicas cannot exceed a quota.
"""

from pve402.domain import account, lease, quota
from pve402.leases import purchases
from pve402.storage import database, lease_rows, transaction


class QuotaChecks:
    """Checks creations against the operator's quotas."""

    def __init__(
        self, db: database.Database, quotas: quota.Quotas, networks: tuple[str, ...]
    ) -> None:
        """Keep the parts; a wallet counts as one on all `networks` (CAIP-2)."""
        self._db = db
        self._quotas = quotas
        self._networks = networks

    async def check(
        self, tx: transaction.Transaction, buyer: purchases.Buyer, size: lease.Size
    ) -> None:
        """Raise LimitReached if this creation would exceed a quota; call it in placement's turn."""
        quotas = self._quotas
        wallet = [buyer.owner]
        if buyer.by_key:
            wallet = account.on_networks(buyer.owner, self._networks)
        if not quotas.wallet.is_unlimited:
            quotas.wallet.check(await lease_rows.usage_of_owners(tx, wallet), size, "one wallet")
        if not quotas.address.is_unlimited and buyer.client_address is not None:
            used = await lease_rows.usage_of_address(tx, buyer.client_address)
            quotas.address.check(used, size, "clients at one address")
        if not quotas.new_wallets.is_unlimited:
            await self._check_new(tx, wallet, size)

    async def _check_new(
        self, tx: transaction.Transaction, wallet: list[str], size: lease.Size
    ) -> None:
        new_for = self._quotas.new_for_seconds
        if await lease_rows.is_new_wallet(self._db, tx, wallet, new_for):
            used = await lease_rows.usage_of_new_wallets(self._db, tx, new_for)
            self._quotas.new_wallets.check(used, size, "all new wallets together")
