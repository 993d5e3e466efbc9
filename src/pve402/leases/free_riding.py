"""Limits of free riding: what may be made before its money has moved.

A container is made before it is paid, so whoever never pays could have them made for nothing. Open
creations are counted per wallet, per client address (of IPv6 per /64) and in all; a wallet whose
settlement failed waits; and a payment that stays valid for long is not taken. One whose outcome has
been unknown for a minute, so that its guest is stopped, fills its payer's share and nobody else's.
"""

from datetime import datetime

from pve402.domain import errors
from pve402.leases import options, purchases, settling
from pve402.storage import database, order_rows, transaction


class FreeRiding:
    """Refuses what would go unpaid too long, or too often."""

    def __init__(self, db: database.Database, settings: options.LeaseOptions) -> None:
        self._db = db
        self._settings = settings

    async def check_creation(
        self, tx: transaction.Transaction, purchase: purchases.Purchase
    ) -> None:
        """Refuse a creation when too many wait for money, or the wallet's last one failed.

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
        """Return the past of a payment whose window is not too long. Raises PaymentRefused."""
        key = purchase.payment.key._asdict()
        past = await order_rows.look_back(self._db, tx, **key, lease_id=lease_id)
        _check_window(purchase, past.now)
        return past


def _check_window(purchase: purchases.Purchase, now: datetime) -> None:
    """Refuse a payment that stays valid for long: its outcome could stay open as long.

    Official clients sign for the `maxTimeoutSeconds` that they were told. The judgement says so
    too, by the clock of a replica; this is the database's.
    """
    terms = purchase.requirements
    if purchase.payment.valid_before > now.timestamp() + terms.longest_window_seconds:
        raise errors.PaymentRefused(
            f"the payment should be valid for {terms.max_timeout_seconds} seconds",
            reason="payment_valid_too_long",
        )
