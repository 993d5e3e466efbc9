"""Accepts redemptions: one transaction reserves a part of a debt and all that it buys.

A debt has one redemption at a time, so that the same request on two replicas gives one lease.
"""

import dataclasses
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from pve402.domain import catalogue, errors, lease, making, order, owed, placement, request
from pve402.leases import admission, options, purchases, quotas, reservation
from pve402.leases.admission import Taken
from pve402.storage import database, order_rows, owed_rows, transaction, vault

REDEEM_ROUTE = "POST /owed/{owedId}/redeem"


class Redemptions:
    """Writes the orders of redemptions."""

    def __init__(
        self,
        db: database.Database,
        settings: options.LeaseOptions,
        admissions: admission.Admission,
        secret_vault: vault.Vault,
        quota_checks: quotas.QuotaChecks,
    ) -> None:
        self._quotas = quota_checks
        self._db = db
        self._settings = settings
        self._admissions = admissions
        self._vault = secret_vault

    async def find(
        self, debt: owed.Owed, key: str | None, asked: request.CreationRequest
    ) -> Taken | None:
        """Return the redemption that this request repeats, if there is one.

        It is named by the Idempotency-Key, or it is the one in progress. Raises
        IdempotencyKeyReused, and OwedBusy if the one in progress is for something else.
        """
        async with self._db.read() as tx:
            return await self._find(tx, debt, key, asked)

    async def take(
        self,
        asked: request.CreationRequest,
        sku: catalogue.Sku,
        how: making.Making,
        debt: owed.Owed,
        price_atomic: int,
        rooms: Sequence[placement.NodeRoom],
        *,
        idempotency_key: str | None,
        buyer: purchases.Redeemer,
    ) -> Taken:
        """Reserve a part of a debt, and all that it buys, in one transaction.

        The lease gets a new guest: one of the warm pool would be settled. Raises OwedNotFound,
        OwedBusy, OwedTooLittle, NoCapacity, LimitReached, IdempotencyKeyReused.
        """
        wanted = self._admissions.new_lease(lease.new_lease_id(), asked, sku, buyer)
        new = self._redeeming(debt, price_atomic, idempotency_key, asked)
        new = dataclasses.replace(new, client_address=buyer.client_address)
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            current = await owed_rows.get(tx, debt.owed_id)
            if current is None:
                raise errors.OwedNotFound
            found = await self._find(tx, current, idempotency_key, asked)
            if found is not None:
                return found
            check_redeemable(current, price_atomic)
            await self._quotas.check(tx, buyer, asked.size, how.network)
            now = await self._db.time_in(tx)
            new = dataclasses.replace(new, settled_at=now, tried_at=now)
            if not await owed_rows.reserve(tx, current, price_atomic, new.order_id):
                raise errors.OwedBusy
            taken = await reservation.reserve(
                self._db,
                tx,
                wanted,
                self._settings,
                rooms=rooms,
                how=how,
            )
            return await self._admissions.insert_creation(tx, new, taken, asked)

    async def _find(
        self,
        tx: transaction.Transaction,
        debt: owed.Owed,
        key: str | None,
        asked: request.CreationRequest,
    ) -> Taken | None:
        hashed = self._named(debt, key)
        named = None if hashed is None else await order_rows.get_by_idempotency(tx, hashed)
        same = self._admissions.fingerprint(REDEEM_ROUTE, asked.canonical())
        if named is not None:
            if named.request_hash != same:
                raise errors.IdempotencyKeyReused
            return Taken(order=named, new=False, named=True)
        if debt.holder_order_id is None:
            return None
        held = await order_rows.get(tx, debt.holder_order_id)
        if held is None or held.request_hash != same:
            raise _busy(debt)
        return Taken(order=held, new=False)

    def _redeeming(
        self, debt: owed.Owed, price_atomic: int, key: str | None, asked: request.CreationRequest
    ) -> order.Order:
        """Return the order that redeems a part of a debt: paid from the start, by an own nonce."""
        order_id = f"o{secrets.token_hex(15)}"
        now = datetime.now(UTC)
        return order.Order(
            order_id=order_id,
            kind=order.OrderKind.CREATION,
            status=order.OrderStatus.CLAIMED,
            lease_id=None,
            network=debt.network,
            asset=debt.asset,
            payer=debt.payer,
            nonce=f"{debt.owed_id}:{order_id}",
            pay_to="",
            amount_atomic=price_atomic,
            valid_before=now,
            minutes=asked.minutes,
            request_hash=self._admissions.fingerprint(REDEEM_ROUTE, asked.canonical()),
            idempotency_hash=self._named(debt, key),
            created_at=now,  # the insert writes the database's own time
            transaction=debt.transaction,
            settled_at=now,
            tried_at=now,
            settles_first=True,
            owed_id=debt.owed_id,
            sealed_secrets=self._admissions.seal_secrets(order_id, asked),
        )

    def _named(self, debt: owed.Owed, key: str | None) -> str | None:
        return (
            None if key is None else self._vault.idempotency_hash(debt.owed_id, REDEEM_ROUTE, key)
        )


def check_redeemable(debt: owed.Owed, price_atomic: int) -> None:
    """Raise OwedNotFound if nothing is owed any more, OwedBusy, OwedTooLittle."""
    if debt.closed_at is not None:
        raise errors.OwedNotFound
    if debt.holder_order_id is not None:
        raise _busy(debt)
    if debt.left_atomic < price_atomic:
        raise errors.OwedTooLittle


def _busy(debt: owed.Owed) -> errors.OwedBusy:
    if debt.status is owed.OwedStatus.PAYING_BACK:
        return errors.OwedBusy("The operator is paying this money back.")
    return errors.OwedBusy()
