"""Limits what can be created before the money has moved.

A container is created before it is paid, so a client that never pays could get containers for
nothing. We limit open creations per wallet, per client address (IPv6: per /64), of all new wallets
together, and in total. Each order of a wallet that settled earns it one more, unless a settlement
failed lately. A wallet whose settlement failed must wait, and payments with a long validity are
refused. A creation whose outcome has been unknown for a minute, so that its guest is stopped,
counts only against its payer.
"""

from datetime import datetime

from pve402.domain import errors
from pve402.leases import new_wallets, options, purchases, settling
from pve402.storage import database, order_rows, transaction


class FreeRiding:
    """Refuses creations that could stay unpaid too long or too often."""

    def __init__(
        self,
        db: database.Database,
        settings: options.LeaseOptions,
        who_is_new: new_wallets.NewWallets,
    ) -> None:
        self._db = db
        self._settings = settings
        self._who_is_new = who_is_new

    async def check_creation(
        self, tx: transaction.Transaction, purchase: purchases.Purchase, count: int = 1
    ) -> None:
        """Refuse so many creations if too many are unpaid, or the wallet's last payment failed.

        Raises TooManyUnsettled, Overloaded, WalletMustWait, PaymentRefused.
        """
        past = await self.look_back(tx, purchase)
        unsettled = await order_rows.count_unsettled(
            self._db,
            tx,
            payer=purchase.payment.payer,
            client_address=purchase.client_address,
            stuck_seconds=settling.UNPAID_SECONDS,
        )
        unsettled = unsettled.with_more(count - 1)
        settings = self._settings
        earned = 0 if past.failures else await self._earned(tx, purchase, unsettled)
        limit = settings.unsettled_per_wallet + earned
        _check_unsettled(unsettled.by_payer, limit, "one wallet")
        if purchase.client_address is not None:
            limit = settings.unsettled_per_address + earned
            _check_unsettled(unsettled.by_address, limit, "clients at one address")
        if unsettled.in_all >= settings.unsettled_in_all:
            raise errors.Overloaded
        await self._check_new(tx, purchase, count - 1)
        if past.wait_seconds:
            raise errors.WalletMustWait(retry_after_seconds=past.wait_seconds)

    async def _earned(
        self,
        tx: transaction.Transaction,
        purchase: purchases.Purchase,
        unsettled: order_rows.Unsettled,
    ) -> int:
        """Return how many more the wallet may have, by what it paid; only read if it matters."""
        settings = self._settings
        most = settings.unsettled_per_payer - settings.unsettled_per_wallet
        usual = min(settings.unsettled_per_wallet, settings.unsettled_per_address)
        if max(unsettled.by_payer, unsettled.by_address) < usual or most <= 0:
            return 0
        key = purchase.payment.key
        return await order_rows.count_settled(
            tx, network=key.network, asset=key.asset, payer=key.payer, most=most
        )

    async def _check_new(
        self, tx: transaction.Transaction, purchase: purchases.Purchase, more: int
    ) -> None:
        limit, who = self._settings.unsettled_of_new_wallets, self._who_is_new
        if limit is None or not await who.includes(tx, who.accounts_of(purchase)):
            return
        unsettled = await who.unsettled(tx, settling.UNPAID_SECONDS)
        _check_unsettled(unsettled + more, limit, "all new wallets together")

    async def look_back(
        self,
        tx: transaction.Transaction,
        purchase: purchases.Purchase,
        lease_id: str | None = None,
    ) -> order_rows.Past:
        """Return the payment's history. Raises PaymentRefused if it stays valid too long."""
        key = purchase.payment.key._asdict()
        past = await order_rows.look_back(self._db, tx, **key, lease_id=lease_id)
        _check_window(purchase, past.now)
        return past


def _check_unsettled(count: int, limit: int, whose: str) -> None:
    if count >= limit:
        raise errors.TooManyUnsettled(
            f"At most {limit} creations of {whose} may wait for settlement at a time. Ask again"
            " once one is done. Nothing was charged."
        )


def _check_window(purchase: purchases.Purchase, now: datetime) -> None:
    """Refuse a payment that stays valid too long: its outcome could stay unknown as long.

    Official clients sign for the `maxTimeoutSeconds` that we send. The local payment checks test
    this too, but by the replica's clock; this check uses the database's.
    """
    terms = purchase.requirements
    if purchase.payment.valid_before > now.timestamp() + terms.longest_window_seconds:
        raise errors.PaymentRefused(
            f"the payment must be valid for {terms.max_timeout_seconds} seconds, not longer",
            reason="payment_valid_too_long",
        )
