"""Holds wallets, client addresses and new wallets to what the operator lets them lease at a time.

The usage is summed from the rows in the creation's own transaction, in which placements take turns,
so concurrent creations on several replicas cannot exceed a quota.
"""

from pve402.domain import lease, networks, quota
from pve402.leases import new_wallets, purchases
from pve402.storage import transaction, usage_rows


class QuotaChecks:
    """Checks creations against the operator's quotas."""

    def __init__(self, quotas: quota.Quotas, who_is_new: new_wallets.NewWallets) -> None:
        self._quotas = quotas
        self._who_is_new = who_is_new

    async def check(
        self,
        tx: transaction.Transaction,
        buyer: purchases.Buyer,
        size: lease.Size,
        network: networks.NetworkProfile,
        count: int = 1,
    ) -> None:
        """Raise LimitReached if so many leases exceed a quota; call it in placement's turn."""
        await self.check_more(tx, buyer, quota.Usage.of_lease(size, len(network.known), count))

    async def check_more(
        self, tx: transaction.Transaction, buyer: purchases.Buyer, more: quota.Usage
    ) -> None:
        """Raise LimitReached if so much more would exceed a quota; call it in placement's turn."""
        quotas = self._quotas
        wallet = self._who_is_new.accounts_of(buyer)
        if not quotas.wallet.is_unlimited:
            quotas.wallet.check(await usage_rows.of_owners(tx, wallet), more, "one wallet")
        if not quotas.address.is_unlimited and buyer.client_address is not None:
            used = await usage_rows.of_address(tx, buyer.client_address)
            quotas.address.check(used, more, "clients at one address")
        if not quotas.new_wallets.is_unlimited:
            await self._check_new(tx, wallet, more)

    async def _check_new(
        self, tx: transaction.Transaction, wallet: list[str], more: quota.Usage
    ) -> None:
        if await self._who_is_new.includes(tx, wallet):
            used = await self._who_is_new.usage(tx)
            self._quotas.new_wallets.check(used, more, "all new wallets together")
