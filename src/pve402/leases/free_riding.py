"""Limits what can be created before the money has moved.

A container is created before it is paid, so a client that never pays could get containers for
nothing. We limit open creations per wallet, per client address (IPv6: per /64) and in total. A
wallet whose settlement failed must wait, and payments with a long validity are refused. A creation
whose outcome has been unknown for a minute, so that its guest is stopped, counts only against its
payer.
"""

from datetime import datetime

from pve402.domain import errors
from pve402.leases import options, purchases, settling
from pve402.storage import database, order_rows, transaction


class FreeRiding:
    """Refuses creations that could stay unpaid too long or too often."""

    def __init__(self, db: database.Database, settings: options.LeaseOptions) -> None:
        self._db = db
        self._settings = settings

    async def check_creation(
        self, tx: transaction.Transaction, purchase: purchases.Purchase
    ) -> None:
        """Refuse a creation if too many are unpaid, or the wallet's last payment failed.

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
        settings = self._settings
        if unsettled.by_payer >= settings.unsettled_per_wallet:
            raise errors.TooManyUnsettled
        has_address = purchase.client_address is not None
        if has_address and unsettled.by_address >= settings.unsettled_per_address:
            raise errors.TooManyUnsettled
        if unsettled.in_all >= settings.unsettled_in_all:
            raise errors.Overloaded
        if past.wait_seconds:
            raise errors.WalletMustWait(retry_after_seconds=past.wait_seconds)

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
