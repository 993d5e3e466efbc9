"""The tenants' use cases: quote, lease, renew, view, end. The HTTP layer calls only this module."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pve402.domain import account, errors, image_tables, lease, making, order, quota, request
from pve402.domain import catalogue as catalogues
from pve402.leases import (
    admission,
    blocks,
    catalogue_versions,
    cluster,
    fees,
    firewall_view,
    fitting,
    inbound,
    moves,
    on_sale,
    options,
    outcome,
    prices,
    private_choice,
    questions,
    renewable,
    scripts,
    sdn_ranges,
    usage,
    views,
    warm_guests,
    warm_pool,
    worker,
)
from pve402.leases.alterations import pausing, reinstalls, size_changes, snapshots
from pve402.leases.outcome import Answer
from pve402.leases.purchases import Purchase
from pve402.leases.views import LeaseView
from pve402.payments import errors as payment_errors
from pve402.payments import settlement
from pve402.payments.facilitators import Verification
from pve402.payments.schemes import known
from pve402.proxmox import resources, storage
from pve402.storage import database, lease_rows, queue, transaction, vault

__all__ = ["Answer", "Caller", "LeaseService", "LeaseView", "Purchase"]

_LOOK_SECONDS = 0.5
_ENDS = lease.OVER | {lease.LeaseStatus.UNWINDING}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    """An authenticated caller.

    A wallet or a payer is identified by its account; a lease token gives access to one lease only.
    """

    owner: str
    lease_id: str | None = None
    scope: frozenset[str] = frozenset({"*"})
    how: Literal["token", "wallet", "payment"] = "token"
    by_key: bool = False  # proven by the address's own key, which is the same on every chain

    def may(self, action: str) -> bool:
        """Return whether the scope covers an action."""
        return "*" in self.scope or action in self.scope


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """The service's dependencies."""

    db: database.Database
    on_sale: on_sale.OnSale
    versions: catalogue_versions.Versions
    settings: options.LeaseOptions
    secret_vault: vault.Vault
    view: cluster.ClusterView
    firewalls: firewall_view.FirewallView
    ranges: sdn_ranges.SdnRanges
    admissions: admission.Admission
    rules: blocks.Blocks
    settler: settlement.Settler
    is_readable: Callable[[str], bool]  # whether a network's chain can be read now
    lease_worker: worker.Worker
    outcomes: outcome.Outcomes
    fees: fees.Fees
    filler: warm_pool.Filler
    pauses: pausing.Pauses
    inbound_rules: inbound.InboundRules
    snapshots: snapshots.Snapshots
    size_changes: size_changes.SizeChanges
    reinstalls: reinstalls.Reinstalls
    lease_views: views.LeaseViews
    history: usage.UsageHistory
    networks: tuple[str, ...]  # CAIP-2, those that payments are accepted on
    asking: questions.Questions = dataclasses.field(default_factory=questions.Questions)


class LeaseService:
    """The use cases of tenants."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._db = parts.db
        self._views = parts.lease_views
        self._choosing = private_choice.Choosing(parts.db, parts.on_sale)
        self.check_choice = self._choosing.check
        self.fitting = fitting.Fitting(
            parts.db, parts.view, parts.settings, parts.on_sale, parts.firewalls, parts.ranges
        )
        self.inbound = parts.inbound_rules
        self.snapshots = parts.snapshots
        self.check_switch, self.stop = parts.pauses.switch.check, parts.pauses.switch.stop
        self.check_start, self.start = parts.pauses.check_start, parts.pauses.start
        self.reboot = parts.pauses.reboot
        self.check_use, self.wake_for = parts.pauses.check_use, parts.pauses.wake_for
        self.note_use = parts.pauses.note_use
        self.check_pause, self.pause = parts.pauses.check_pause, parts.pauses.pause
        self.size_changes = parts.size_changes
        self.reinstalls = parts.reinstalls
        self.history = parts.history
        self.scripts = scripts.Scripts(parts.db, parts.secret_vault)
        self.prices = prices.Prices(parts.on_sale, parts.versions)

    @property
    def catalogue(self) -> catalogues.Catalogue:
        """What is on sale now; another one a moment later, perhaps."""
        return self._parts.on_sale.now

    def images(self) -> tuple[tuple[image_tables.Image, storage.Template | None], ...]:
        """Return the images on sale, each with its file as nodes showed it in the last minute.

        An OCI image that no node may sell, refused or not tried yet, is not among them.
        """
        view, images = self._parts.view, self.catalogue.images_on_sale
        may_be_chosen = [image for image in images if view.may_sell(image.template)]
        return tuple((image, view.template(image.template)) for image in may_be_chosen)

    async def check_room(
        self, sku: catalogues.Sku, size: lease.Size, template: str | None = None
    ) -> None:
        """Raise NoCapacity or ProxmoxUnavailable if a lease of this size could not be placed now.

        Makes no call while the view of the cluster and the promises are fresh.
        """
        await self.fitting.check(sku, size, template)

    def isolation(self) -> dict[str, Literal["none", "tenant", "unavailable"]]:
        """Return what keeps new guests apart, by the name of each network on sale."""
        return self._parts.firewalls.states()

    @property
    def limits(self) -> tuple[quota.Quotas, float]:
        """What parties may lease at a time, and how many seconds may be paid ahead."""
        return self._parts.settings.quotas, self._parts.settings.paid_ahead_limit_seconds

    async def check_client(self, client_address: str | None) -> None:
        """Raise AddressBlocked if the operator sells nothing to clients at this address."""
        await self._parts.rules.check(client_address)

    async def check_renewable(self, row: lease.Lease, minutes: int) -> None:
        """Raise the error that a renewal would get now, before asking for payment."""
        await renewable.check_now(self._db, row, minutes, self._parts.settings)
        await self._parts.rules.check_owner(row)
        if row.needs_room_again:
            await self.fitting.check_return(row)

    async def create(self, asked: request.CreationRequest, purchase: Purchase) -> Answer:
        """Lease a container: claim, create, start, settle, hand over.

        Raises the errors in `pve402.domain.errors` for payments, capacity and limits. After
        ProvisioningFailed and PaymentRefused, nothing was charged; after OrderPending and
        SettlementPending, the outcome is still open.
        """
        taken = await self._find_bought(asked, purchase)
        if taken is None:
            selling = self.catalogue
            sku = asked.check(selling)
            how = making.of_sku(selling, sku)
            self._parts.firewalls.check(how.network)
            template = sku.template_volume(asked.template, self._parts.settings.default_template)
            rooms = await self._parts.view.rooms_for(template)
            await self._parts.rules.check_purchase(purchase)
            purchase = await self.verify(purchase)
            rooms = await self._choosing.rooms(asked, sku, purchase, rooms)
            sku = self.prices.as_paid(sku, asked, purchase.requirements)
            taken = await self._parts.admissions.take_creation(asked, sku, how, purchase, rooms)
            if taken.new:
                self._parts.lease_worker.begin(taken.order)
                self._parts.filler.wake()
        return await self.answer(taken, purchase)

    async def _find_bought(
        self, asked: request.CreationRequest, purchase: Purchase
    ) -> admission.Taken | None:
        """Return the order of this purchase, also when what it bought is no longer on sale."""
        try:
            return await self._parts.admissions.find(
                purchase, admission.CREATE_ROUTE, asked.canonical()
            )
        except payment_errors.PaymentRejected:
            asked.check(self.catalogue)  # what cannot be sold needs no other payment
            raise

    async def renew(
        self, row: lease.Lease, minutes: int, purchase: Purchase, caller: Caller | None = None
    ) -> Answer:
        """Add minutes to a lease: hold, start if necessary, settle, extend.

        Raises LeaseNotFound unless the payer is the owner or the caller has a token of the lease.
        """
        payer_owns = account.is_same(purchase.owner, row.account, any_chain=purchase.by_key)
        if not payer_owns and not may_manage(caller, row):
            raise errors.LeaseNotFound
        canonical = request.RenewalRequest(lease_id=row.lease_id, minutes=minutes).canonical()
        taken = await self._parts.admissions.find(purchase, admission.RENEW_ROUTE, canonical)
        if taken is None:
            rooms = await self._parts.view.rooms() if row.needs_room_again else None
            await self._parts.rules.check_owner(row)
            await self._parts.rules.check_purchase(purchase)
            purchase = await self.verify(purchase)
            taken = await self._parts.admissions.take_renewal(row, minutes, purchase, rooms)
            if taken.new:
                self._parts.lease_worker.begin(taken.order)
        return await self.answer(taken, purchase)

    async def pay_fee(
        self, purchase: Purchase, route: str, canonical: Mapping[str, object]
    ) -> order.Order:
        """Settle the fee of a management call; this also proves the payer's identity.

        Raises PaymentReused for any payment seen before, PaymentRefused, SettlementPending.
        """
        await self._parts.admissions.check_fee(purchase)
        purchase = await self.verify(purchase)
        taken = await self._parts.admissions.take_fee(purchase, route, canonical)
        try:
            settled = await self._parts.fees.settle(taken.order)
        except queue.FenceLostError:  # it took so long that a worker took the order over
            settled = await self._parts.outcomes.read(taken.order.order_id)
        if settled.status is order.OrderStatus.SETTLED:
            return settled
        if settled.status is order.OrderStatus.REFUSED:
            raise errors.PaymentRefused(reason=settled.refusal or "settlement_refused")
        self._parts.lease_worker.wake()
        raise errors.SettlementPending

    async def find(self, id_text: str, caller: Caller | None = None) -> lease.Lease:
        """Return a lease by its leaseId or its current ctid.

        With a caller, only finds the caller's leases. Raises LeaseNotFound.
        """
        async with self._db.read() as tx:
            if lease.is_lease_id(id_text):
                found = await lease_rows.get(tx, id_text)
            elif id_text.isascii() and id_text.isdigit() and len(id_text) <= 9:
                found = await lease_rows.get_by_vmid(tx, int(id_text))
            else:
                found = None
        if found is None or found.is_unowned or not (found.handed_over or caller):
            raise errors.LeaseNotFound
        if caller is not None and not may_manage(caller, found):
            raise errors.LeaseNotFound
        return found

    async def list_leases(self, caller: Caller, *, include_over: bool = False) -> list[LeaseView]:
        """Return the caller's leases with their guests' states, which take one call to Proxmox."""
        async with self._db.read() as tx:
            found = await self._list_rows(tx, caller, include_over=include_over)
        return await self._views.of([row for row in found if may_manage(caller, row)])

    async def view(self, row: lease.Lease, *, wait_seconds: float = 0.0) -> LeaseView:
        """Return one lease with its guest's state; waits as long for the guest's addresses."""
        give_up_at = time.monotonic() + wait_seconds
        while True:
            found = await self._views.one(row)
            if time.monotonic() >= give_up_at or not self._views.lacks_addresses(found):
                return found
            await asyncio.sleep(_LOOK_SECONDS)
            async with self._db.read() as tx:
                row = await lease_rows.get(tx, row.lease_id) or row

    async def node_figures(self) -> Sequence[resources.NodeSummary]:
        """Return the nodes' figures, a few seconds old; raise ProxmoxUnavailable if unknown."""
        return self._views.node_figures()

    async def end(self, row: lease.Lease) -> lease.Lease:
        """End a lease early: stop and destroy the guest, without a refund.

        Raises LeaseBusy while a renewal holds it, LeaseNotReady before the handover, and
        LeaseSuspended. Ending a lease that is already ending succeeds.
        """
        if row.status in lease.OVER or row.status is lease.LeaseStatus.DELETING:
            return row
        check_endable(row)
        try:
            async with self._db.begin() as tx:
                moved = await moves.end_early(self._db, tx, row)
        except queue.FenceLostError:
            raise errors.LeaseBusy from None
        self._parts.lease_worker.wake()
        return moved

    async def require_active(self, row: lease.Lease) -> None:
        """Raise LeaseSuspended, or LeaseNotReady outside a lease's paid time."""
        row.check_usable(await self._db.time())

    async def _list_rows(
        self, tx: transaction.Transaction, caller: Caller, *, include_over: bool
    ) -> list[lease.Lease]:
        if caller.lease_id is not None:
            own = await lease_rows.get(tx, caller.lease_id)
            if own is None or own.is_unowned:  # the token of a private image is of no container
                return []
            return [own] if include_over or own.status not in _ENDS else []
        accounts = [caller.owner]
        if caller.by_key:
            accounts = account.on_networks(caller.owner, self._parts.networks)
        return await lease_rows.list_by_owners(tx, accounts, include_over=include_over)

    async def verify(self, purchase: Purchase) -> Purchase:
        """Ask the chain if the payer is a contract, the facilitator if the payment would settle.

        Runs before the claim. A bad signature that no contract could accept causes no call.
        Raises TooManyQuestions if too many payments of this address are being checked.
        """
        async with self._parts.asking.turn(purchase.client_address):
            return await self._ask(purchase)

    async def _ask(self, purchase: Purchase) -> Purchase:
        payment, terms = purchase.payment, purchase.requirements
        if not self._parts.is_readable(payment.network):
            raise errors.ChainUnavailable
        try:
            has_code = await self._parts.settler.payer_has_code(payment)
            scheme = known.scheme_of(payment)
            standing = scheme.check_signature(payment, terms, payer_has_code=has_code)
            payment = scheme.as_sent(payment, standing, payer_has_code=has_code)
            found: Verification = await self._parts.settler.verify(payment, terms)
        except payment_errors.FacilitatorUnavailable as error:
            raise errors.FacilitatorUnavailable from error
        except payment_errors.ChainUnavailable as error:
            raise errors.ChainUnavailable from error
        if not found.valid:
            reason = found.reason or "payment_invalid"
            raise errors.PaymentRefused(f"the payment was refused: {reason}", reason=reason)
        return dataclasses.replace(purchase, payment=payment, payer_has_code=has_code)

    async def _is_proven(self, purchase: Purchase) -> bool:
        """Return whether the payer really signed; trust a contract while the payment is valid."""
        if purchase.by_key or purchase.too_late is not None:
            return purchase.by_key
        try:
            await self.verify(purchase)
        except (errors.PaymentRefused, errors.TryLater, payment_errors.PaymentRejected):
            return False
        return True

    async def answer(self, taken: admission.Taken, purchase: Purchase) -> Answer:
        """Wait for an order as long as the client asked, then return its state.

        A leaseId, once sent, must not change; until it is certain, the order is pending.
        """
        outcomes = self._parts.outcomes
        row = await outcomes.closed(taken.order, purchase.wait_seconds, is_fresh=taken.new)
        found = await outcomes.lease_of(row)
        if warm_guests.may_be_replaced(found, row):
            raise errors.OrderPending
        is_sold = row.kind is order.OrderKind.CREATION and not row.is_open
        may_see = is_sold and await self.may_see_token(taken, purchase)
        token = self._parts.secret_vault.lease_token(row.order_id) if may_see else None
        return Answer(lease=found, order=row, access_token=token)

    async def may_see_token(self, taken: admission.Taken, purchase: Purchase) -> bool:
        """Return whether the tokens of what was bought are for who sent this purchase."""
        named = taken.named and purchase.key_is_secret
        return taken.new or (named and await self._is_proven(purchase))


def check_endable(row: lease.Lease) -> None:
    """Raise the error that `end` would get now, before asking for payment."""
    if row.status in lease.OVER:
        return
    row.check_not_suspended()
    if row.hold_order_id is not None and not row.is_emptied:
        raise errors.LeaseBusy
    if not row.handed_over or row.status is lease.LeaseStatus.STARTING:
        raise errors.LeaseNotReady


def may_manage(caller: Caller | None, row: lease.Lease) -> bool:
    if caller is None:
        return False
    if caller.lease_id is not None:
        return caller.lease_id == row.lease_id
    return account.is_same(caller.owner, row.account, any_chain=caller.by_key)
