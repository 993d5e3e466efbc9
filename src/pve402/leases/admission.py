"""Accepts orders: one transaction claims the payment and reserves what it pays for.

The unique payment is the claim. A second request with the same payment finds the first order: an
identical request joins it, a different one is refused. If a client signs a new payment instead of
resending the first, its Idempotency-Key identifies it, and the second payment is never claimed.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pve402.domain import (
    catalogue,
    errors,
    lease,
    making,
    meter,
    order,
    placement,
    request,
)
from pve402.leases import (
    free_riding,
    money,
    moves,
    options,
    purchases,
    quotas,
    renewable,
    reservation,
)
from pve402.storage import (
    database,
    environment_rows,
    lease_rows,
    order_rows,
    queue,
    transaction,
    user_data_rows,
    vault,
)

CREATE_ROUTE = "POST /lease/container"
RENEW_ROUTE = "POST /lease/{ctid}/renew"
_HOLD_MARGIN = timedelta(seconds=120)  # for the last check after the payment has expired


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taken:
    """The order for a purchase; `new` if this purchase created it."""

    order: order.Order
    new: bool
    named: bool = False  # the buyer sent the order's Idempotency-Key


class Admission:
    """Writes orders."""

    def __init__(
        self,
        db: database.Database,
        settings: options.LeaseOptions,
        worker_hold_seconds: float,
        funds: money.Money,
        secret_vault: vault.Vault,
        *,
        quota_checks: quotas.QuotaChecks,
        free_rides: free_riding.FreeRiding,
    ) -> None:
        self._db = db
        self._settings = settings
        self.quotas = quota_checks
        self.free_riding = free_rides
        self._hold_seconds = worker_hold_seconds
        self._money = funds
        self._vault = secret_vault
        self._request_key = secret_vault.key("request")

    async def find(
        self, purchase: purchases.Purchase, route: str, canonical: Mapping[str, object]
    ) -> Taken | None:
        """Return the existing order for this purchase, if there is one.

        Raises PaymentReused or IdempotencyKeyReused if that order was for a different request, and
        PaymentRejected if there is no order and the payment is too late to create one.
        """
        async with self._db.read() as tx:
            found = await self.find_in(tx, purchase, route, self.fingerprint(route, canonical))
        if found is None and purchase.too_late is not None:
            raise purchase.too_late
        return found

    async def take_creation(
        self,
        asked: request.CreationRequest,
        sku: catalogue.Sku,
        how: making.Making,
        purchase: purchases.Purchase,
        rooms: Sequence[placement.NodeRoom],
    ) -> Taken:
        """Claim the payment; take a warm guest, or choose a node and reserve a vmid.

        If the client gets its answer before the order is done, the leaseId in it must not change.
        Such an order always gets a new guest: a warm one may turn out to be broken, and its leaseId
        would be lost with it.

        Raises NoCapacity, TooManyUnsettled, WalletMustWait, LimitReached, PaymentReused,
        IdempotencyKeyReused.
        """
        new = self.new_creation(purchase, CREATE_ROUTE, asked)
        wanted = self.new_lease(lease.new_lease_id(), asked, sku, purchase)
        wanted = wanted.evolve(network=how.network.name, made_of=how.made_of)
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            found = await self.find_in(tx, purchase, CREATE_ROUTE, new.request_hash)
            if found is not None:
                return found
            await self.free_riding.check_creation(tx, purchase)
            await self.quotas.check(tx, purchase, asked.size, how.network)
            taken = None
            if purchase.wait_seconds > 0:
                taken = await self._take_ready(tx, wanted, how, rooms)
            if taken is None:
                taken = await reservation.reserve(
                    self._db, tx, wanted, self._settings, rooms=rooms, how=how
                )
            return await self.insert_creation(tx, new, taken, asked)

    def new_creation(
        self, purchase: purchases.Purchase, route: str, asked: request.CreationRequest
    ) -> order.Order:
        """Return the order of a new lease, not written yet."""
        new = self.new_order(purchase, route, asked.canonical(), order.OrderKind.CREATION)
        sealed = self.seal_secrets(new.order_id, asked)
        return dataclasses.replace(new, minutes=asked.minutes, sealed_secrets=sealed)

    async def _take_ready(
        self,
        tx: transaction.Transaction,
        wanted: lease.Lease,
        how: making.Making,
        rooms: Sequence[placement.NodeRoom],
    ) -> lease.Lease | None:
        """Take a warm guest on an available node that the sku may use."""
        if not self._settings.warm_kinds:
            return None
        usable = await reservation.without_drained(tx, rooms)
        online = {room.node for room in usable if room.online}
        allowed = online & how.nodes if how.nodes else online
        return await moves.sell_warm(self._db, tx, wanted, allowed)

    async def take_renewal(
        self,
        row: lease.Lease,
        minutes: int,
        purchase: purchases.Purchase,
        rooms: Sequence[placement.NodeRoom] | None = None,
    ) -> Taken:
        """Claim the payment and hold the lease, so that it cannot expire during the renewal.

        The price was computed of `row`, so a lease that has another size by now is not renewed. For
        a guest in grace, pass the nodes' free room as `rooms`: its cores and memory may have
        been sold to others.

        Raises LeaseBusy, LeaseOver, LeaseNotReady, NoCapacity, PaidTooFarAhead, PaymentReused.
        """
        canonical = request.RenewalRequest(lease_id=row.lease_id, minutes=minutes).canonical()
        new = self.new_order(purchase, RENEW_ROUTE, canonical, order.OrderKind.RENEWAL)
        new = dataclasses.replace(new, lease_id=row.lease_id, minutes=minutes)
        async with self._db.begin() as tx:
            found = await self.find_in(tx, purchase, RENEW_ROUTE, new.request_hash)
            if found is not None:
                return found
            past = await self.free_riding.look_back(tx, purchase, row.lease_id)
            if past.wait_seconds:  # renewals need not wait, but no guest runs unpaid either
                new = dataclasses.replace(new, settles_first=True)
            held = await self._hold(tx, row, new, past.now, rooms)
            if held.snapshot_burn:  # it may burn less before the payment has settled
                metered = meter.of(held)
                credit = None if metered is None else metered.worth(minutes)
                new = dataclasses.replace(new, credit=credit)
            return await self.insert(tx, new)

    async def check_fee(self, purchase: purchases.Purchase) -> None:
        """Check the payment of a management call before it is claimed.

        Raises PaymentReused if it was used before, for any request; PaymentRefused.
        """
        async with self._db.read() as tx:
            past = await self.free_riding.look_back(tx, purchase)
        if past.claimed:
            raise errors.PaymentReused
        if purchase.too_late is not None:
            raise purchase.too_late

    async def take_fee(
        self, purchase: purchases.Purchase, route: str, canonical: Mapping[str, object]
    ) -> Taken:
        """Claim the payment of a management call. Raises PaymentReused if it was claimed before."""
        new = self.new_order(purchase, route, canonical, order.OrderKind.FEE)
        async with self._db.single() as tx:
            return await self.insert(tx, dataclasses.replace(new, idempotency_hash=None))

    async def insert(
        self, tx: transaction.Transaction, new: order.Order, *, at_once: bool = True
    ) -> Taken:
        """Write a new order, which claims its payment. Raises PaymentReused.

        The caller begins with it at once, or any worker does.
        """
        fence, due = (queue.new_fence(), self._hold_seconds) if at_once else (None, 0.0)
        written = await order_rows.insert(self._db, tx, new, fence=fence, due_in_seconds=due)
        if written is None:
            raise errors.PaymentReused
        return Taken(order=written, new=True)

    async def insert_creation(
        self,
        tx: transaction.Transaction,
        new: order.Order,
        taken: lease.Lease,
        asked: request.CreationRequest,
        *,
        at_once: bool = True,
    ) -> Taken:
        """Write the order of a new lease, and keep what its guest gets. Raises PaymentReused."""
        new = dataclasses.replace(new, lease_id=taken.lease_id)
        written = await self.insert(tx, new, at_once=at_once)
        if asked.env:
            text = json.dumps(dict(asked.env)).encode()
            sealed = self._vault.seal(text, environment_rows.bound_to(new.order_id))
            await environment_rows.insert(tx, new.order_id, sealed)
        if asked.user_data is not None:
            bound = user_data_rows.bound_to(new.order_id, "script")
            script = self._vault.seal(asked.user_data.encode(), bound)
            needs_network = not asked.user_data_skips_network
            await user_data_rows.insert(
                self._db, tx, new.order_id, script, needs_network=needs_network
            )
        return written

    async def find_in(
        self,
        tx: transaction.Transaction,
        purchase: purchases.Purchase,
        route: str,
        fingerprint: str,
    ) -> Taken | None:
        """Return the existing order for a purchase, as `find` does."""
        named = await self._find_named(tx, purchase, route)
        if named is not None:
            if named.request_hash != fingerprint:
                raise errors.IdempotencyKeyReused
            return Taken(order=named, new=False, named=True)
        key = purchase.payment.key
        paid = await order_rows.get_by_payment(
            tx, network=key.network, asset=key.asset, payer=key.payer, nonce=key.nonce
        )
        if paid is None:
            return None
        if paid.request_hash != fingerprint:
            raise errors.PaymentReused
        return Taken(order=paid, new=False)

    async def _find_named(
        self, tx: transaction.Transaction, purchase: purchases.Purchase, route: str
    ) -> order.Order | None:
        hashed = self._idempotency_hash(purchase, route)
        return None if hashed is None else await order_rows.get_by_idempotency(tx, hashed)

    async def _hold(
        self,
        tx: transaction.Transaction,
        row: lease.Lease,
        new: order.Order,
        now: datetime,
        rooms: Sequence[placement.NodeRoom] | None,
    ) -> lease.Lease:
        current = await lease_rows.get(tx, row.lease_id)
        renewable.check(current, new.minutes, now, self._settings)
        if current is None:
            raise errors.LeaseNotFound
        if current.needs_room_again:
            await self._check_return(tx, current, rooms)
        try:
            held = await moves.hold(tx, current, new.order_id, new.valid_before + _HOLD_MARGIN)
        except queue.FenceLostError:
            raise errors.LeaseBusy from None
        if _priced(held) != _priced(row):
            raise errors.LeaseBusy  # the price that was paid is of something else
        await renewable.check_idle(tx, held)
        return held

    async def _check_return(
        self,
        tx: transaction.Transaction,
        row: lease.Lease,
        rooms: Sequence[placement.NodeRoom] | None,
    ) -> None:
        if rooms is None:  # it expired between the check and this transaction
            raise errors.LeaseBusy
        await reservation.lock_placement(self._db, tx)
        await reservation.check_return(tx, row, self._settings, rooms=rooms)

    def new_order(
        self,
        purchase: purchases.Purchase,
        route: str,
        canonical: Mapping[str, object],
        kind: order.OrderKind,
    ) -> order.Order:
        payment = purchase.payment
        order_id = order.new_order_id()
        return order.Order(
            order_id=order_id,
            kind=kind,
            status=order.OrderStatus.CLAIMED,
            lease_id=None,
            network=payment.network,
            asset=payment.asset,
            payer=payment.payer,
            nonce=payment.nonce,
            pay_to=payment.pay_to,
            amount_atomic=payment.amount_atomic,
            valid_before=datetime.fromtimestamp(payment.valid_before, UTC),
            minutes=0,
            request_hash=self.fingerprint(route, canonical),
            idempotency_hash=self._idempotency_hash(purchase, route),
            created_at=datetime.now(UTC),  # the insert writes the database's own time
            client_address=purchase.client_address,
            settles_first=purchase.settles_first,
            sealed_payment=self._money.seal(order_id, payment, purchase.requirements),
        )

    def new_lease(
        self,
        lease_id: str,
        asked: request.CreationRequest,
        sku: catalogue.Sku,
        buyer: purchases.Buyer,
    ) -> lease.Lease:
        """Return the lease that a creation asks for, not placed yet."""
        return lease.Lease(
            lease_id=lease_id,
            status=lease.LeaseStatus.RESERVED,
            node="",  # chosen with its vmid in the transaction
            vmid=0,
            owner=buyer.owner,
            client_address=buyer.client_address,
            sku=sku.name,
            size=asked.size,
            hostname=asked.hostname or request.default_hostname(sku.name, lease_id),
            template=sku.template_volume(asked.template, self._settings.default_template),
            rates=sku.rates.to_strings(),
            created_at=datetime.now(UTC),  # the insert writes the database's own time
            metadata=asked.kept(),
        )

    def seal_secrets(self, order_id: str, asked: request.CreationRequest) -> bytes:
        """Return the tenant's encrypted secrets, which the order row keeps until delivery."""
        text = json.dumps(
            {"password": asked.password, "ssh_public_keys": list(asked.ssh_public_keys)}
        )
        return self._vault.seal(text.encode(), order_id)

    def fingerprint(self, route: str, canonical: Mapping[str, object]) -> str:
        """Return what tells a request from every other one."""
        return request.fingerprint(route, canonical, self._request_key)

    def _idempotency_hash(self, purchase: purchases.Purchase, route: str) -> str | None:
        key = purchase.idempotency_key
        if key is None:
            return None
        return self._vault.idempotency_hash(purchase.owner, route, key)


def _priced(row: lease.Lease) -> tuple[lease.Size, int | None, int | None]:
    """Return what the price of a renewal depends on."""
    return row.size, row.snapshot_gb, row.snapshot_burn
