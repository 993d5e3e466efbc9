"""A lease service in memory, for tests of the HTTP layer: same calls, no machines, no chain.

It keeps what it was asked for in `calls`, and fails with what a test puts into `failures`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources as package_files
from typing import Any

from typing_extensions import override

from pve402.domain import (
    account,
    catalogue,
    errors,
    inbound,
    lease,
    meter,
    networks,
    order,
    power,
    quota,
    reinstalls,
    size_changes,
    snapshots,
    user_data,
)
from pve402.leases import inbound as inbound_rules
from pve402.leases import on_sale, prices, service
from pve402.leases.alterations import power as power_rules
from pve402.leases.alterations import reinstalls as lease_reinstalls
from pve402.leases.alterations import size_changes as lease_size_changes
from pve402.leases.alterations import snapshots as lease_snapshots
from pve402.proxmox import past_figures, resources

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ENDS = datetime(2096, 11, 21, 13, 0, tzinfo=UTC)
"""When leases end: in no run of these tests."""
NETWORK = networks.NetworkProfile(name=networks.OF_VARIABLES, bridge="vmbr0")
ISOLATED = """
[network.tenants]
bridge = "vmbr1"
isolation = "tenant"
inbound = "chosen"
ipv4 = { subnet = "10.7.0.0/24", ranges = ["10.7.0.10-10.7.0.99"] }
"""
TRANSACTION = "0x" + "5e" * 32


def sku_catalogue() -> catalogue.Catalogue:
    """The catalogue that ships with the program."""
    text = package_files.files("pve402.domain").joinpath("default_catalogue.toml").read_text()
    return catalogue.parse(text + ISOLATED).with_network(NETWORK)


def make_lease(owner: str, *, vmid: int = 10000, **changes: Any) -> lease.Lease:
    """An active lease of the smallest kind."""
    made = lease.Lease(
        lease_id=lease.new_lease_id(),
        status=lease.LeaseStatus.ACTIVE,
        node="pve1",
        vmid=vmid,
        owner=owner,
        sku="standard-lxc",
        size=lease.Size(cores=1, memory_mb=512, disk_gb=8),
        hostname="demo-server",
        template="local:vztmpl/debian.tar.zst",
        rates=sku_catalogue().skus["standard-lxc"].rates.to_strings(),
        created_at=NOW,
        expires_at=ENDS,
    )
    return made.evolve(**changes)


def make_guest(row: lease.Lease) -> resources.GuestSummary:
    """The running guest of a lease."""
    return resources.GuestSummary(
        node=row.node,
        vmid=row.vmid,
        name=row.hostname,
        state=resources.RunState.RUNNING,
        lock="",
        tags=(),
        uptime_seconds=60,
        cpu_usage=0.25,
        cpu_cores=1,
        memory_used=128 * 2**20,
        memory_total=512 * 2**20,
        disk_used=2**30,
        disk_total=8 * 2**30,
    )


class FakeInbound(inbound_rules.InboundRules):
    """Writes down what tenants let in, after the real checks."""

    def __init__(self, of: on_sale.OnSale, calls: list[tuple[str, Any]]) -> None:
        super().__init__(None, of, None)  # type: ignore[arg-type]  # neither is used here
        self._calls = calls

    @override
    async def let_in(
        self, row: lease.Lease, openings: Sequence[inbound.Opening] | None
    ) -> lease.Lease:
        self.check(row)
        self._calls.append(("let_in", openings))
        kept = None if openings is None else tuple(openings)
        return row.evolve(openings=kept, rules_at=NOW)


class FakeHistory:
    """Tells what a test puts into `found`."""

    def __init__(self, called: Callable[[str, Any], None]) -> None:
        self._called = called
        self.found: list[past_figures.Figures] = []

    async def of(
        self, _row: lease.Lease, frame: past_figures.TimeFrame
    ) -> list[past_figures.Figures]:
        self._called("usage", frame)
        return self.found


class FakeSnapshots:
    """Keeps the names of snapshots of one lease, and refuses what a test puts into `refusal`."""

    def __init__(self, called: Callable[[str, Any], None]) -> None:
        self._called = called
        self.refusal: Exception | None = None
        self.names: list[str] = []

    async def of_lease(self, row: lease.Lease) -> lease_snapshots.Listing:
        self._called("snapshots", row)
        found = [_snapshot(row, name) for name in self.names]
        return lease_snapshots.Listing(snapshots=found, at_most=3, are_possible=True)

    async def check_take(self, _row: lease.Lease, name: str) -> None:
        snapshots.check_name(name)
        self._check()

    async def take(self, row: lease.Lease, name: str) -> snapshots.Snapshot:
        self._called("take", name)
        self.names.append(name)
        return _snapshot(row, name)

    async def check_change(self, _row: lease.Lease, name: str) -> None:
        self._check()
        if name not in self.names:
            raise snapshots.SnapshotNotFound

    check_roll_back = check_change

    async def delete(self, row: lease.Lease, name: str) -> lease_snapshots.Listing:
        self._called("delete", name)
        self.names.remove(name)
        return await self.of_lease(row)

    async def roll_back(self, row: lease.Lease, name: str) -> snapshots.Snapshot:
        self._called("roll_back", name)
        return _snapshot(row, name)

    def _check(self) -> None:
        if self.refusal is not None:
            raise self.refusal


class FakeScripts:
    """Tells what a test puts into `found`, of every lease."""

    def __init__(self) -> None:
        self.found: tuple[user_data.UserData, bytes] | None = None

    async def seen(self, view: service.LeaseView) -> service.LeaseView:
        return dataclasses.replace(view, script=self.found and self.found[0])

    async def outcome(self, _row: lease.Lease) -> tuple[user_data.UserData, bytes]:
        if self.found is None:
            raise errors.UserDataMissing
        return self.found


class FakeSizeChanges:
    """Changes the sizes of leases at once, and refuses what a test puts into `refusal`."""

    def __init__(self, leases: "FakeLeases") -> None:
        self._leases = leases
        self.refusal: Exception | None = None
        self.made: size_changes.SizeChange | None = None

    async def quote(
        self, row: lease.Lease, wish: size_changes.Wish, *, by_key: bool
    ) -> lease_size_changes.Plan:
        self._leases._called("quote_change", by_key)
        if self.refusal is not None:
            raise self.refusal
        size, empty = wish.size_for(row, self._leases.catalogue), meter.Meter.empty(1, NOW)
        after = empty.changed(meter.burn_of(row.rates, size), NOW)
        return lease_size_changes.Plan(
            row=row, size=size, rates=dict(row.rates), before=empty, after=after
        )

    async def check(self, row: lease.Lease, wish: size_changes.Wish, *, by_key: bool) -> None:
        await self.quote(row, wish, by_key=by_key)

    async def change(
        self, row: lease.Lease, wish: size_changes.Wish, *, by_key: bool
    ) -> lease_size_changes.Outcome:
        plan = await self.quote(row, wish, by_key=by_key)
        self._leases._called("change", wish)
        self.made = size_changes.SizeChange(
            lease_id=row.lease_id,
            state=size_changes.State.DONE,
            created_at=NOW,
            before=row.size,
            after=plan.size,
            burn_before=plan.before.burn,
            burn_after=plan.after.burn,
            rates_after=plan.rates,
            since=NOW,
            may_restart=wish.may_restart,
        )
        return await self.show(row)

    async def show(self, row: lease.Lease) -> lease_size_changes.Outcome:
        self._leases._called("show_change", row)
        return lease_size_changes.Outcome(lease=row, change=self.made)


class FakeReinstalls:
    """Reinstalls leases at once, and refuses what a test puts into `refusal`."""

    def __init__(self, called: Any) -> None:
        self._called = called
        self.refusal: Exception | None = None
        self.made: reinstalls.Reinstall | None = None

    async def check(self, row: lease.Lease, wish: reinstalls.Wish) -> None:
        self._called("check_reinstall", wish)
        wish.check()
        if self.refusal is not None:
            raise self.refusal

    async def reinstall(self, row: lease.Lease, wish: reinstalls.Wish) -> lease_reinstalls.Outcome:
        self._called("reinstall", wish)
        self.made = reinstalls.Reinstall(
            lease_id=row.lease_id,
            reinstall_id="r0",
            state=reinstalls.State.DONE,
            created_at=NOW,
            request_hash="",
            template=row.template,
            kept=wish.kept(row.metadata),
            ended_at=NOW,
        )
        return await self.show(row)

    async def show(self, row: lease.Lease) -> lease_reinstalls.Outcome:
        self._called("show_reinstall", row)
        return lease_reinstalls.Outcome(lease=row, made=self.made)


class NoOtherVersion:
    """The catalogue never changes."""

    problem = None

    async def refresh(self) -> bool:
        return False


@dataclasses.dataclass(kw_only=True)
class FakeLeases:
    """Leases by id, payments by key."""

    leases: dict[str, lease.Lease] = dataclasses.field(default_factory=dict)
    payments: set[Any] = dataclasses.field(default_factory=set)
    calls: list[tuple[str, Any]] = dataclasses.field(default_factory=list)
    failures: dict[str, Exception] = dataclasses.field(default_factory=dict)
    proxmox_seen: bool = True
    guests_missing: bool = False
    pending: bool = False  # creations stay under work
    files: dict[str, Any] = dataclasses.field(default_factory=dict)  # of images
    unsold: set[str] = dataclasses.field(default_factory=set)

    def isolation(self) -> dict[str, str]:
        """Nothing is isolated."""
        return dict.fromkeys(self.catalogue.networks_on_sale, "none")

    def images(self) -> tuple[Any, ...]:
        """The images on sale, with the files that are known."""
        images = [one for one in self.catalogue.images_on_sale if one.name not in self.unsold]
        return tuple((image, self.files.get(image.name)) for image in images)

    limits = (quota.Quotas(), 30 * 86400.0)

    def __post_init__(self) -> None:
        self.catalogue = sku_catalogue()
        selling = on_sale.OnSale(self.catalogue)
        self.inbound = FakeInbound(selling, self.calls)
        self.history = FakeHistory(self._called)
        self.snapshots = FakeSnapshots(self._called)
        self.size_changes = FakeSizeChanges(self)
        self.reinstalls = FakeReinstalls(self._called)
        self.scripts = FakeScripts()
        self.prices = prices.Prices(selling, NoOtherVersion())  # type: ignore[arg-type]

    def add(self, made: lease.Lease) -> lease.Lease:
        """Keep a lease."""
        self.leases[made.lease_id] = made
        return made

    def named(self, call: str) -> list[Any]:
        """What was given to the calls of one name."""
        return [given for name, given in self.calls if name == call]

    def _called(self, call: str, given: Any = None) -> None:
        self.calls.append((call, given))
        if call in self.failures:
            raise self.failures[call]

    async def check_client(self, client_address: str | None) -> None:
        """Nobody is blocked."""

    async def check_room(
        self, sku: catalogue.Sku, size: lease.Size, template: str | None = None
    ) -> None:
        self._called("check_room", size)

    async def check_renewable(self, row: lease.Lease, minutes: int) -> None:
        self._called("check_renewable", minutes)

    async def create(self, asked: Any, purchase: service.Purchase) -> service.Answer:
        self._called("create", (asked, purchase))
        if purchase.too_late is not None:
            return self._join(purchase)
        self._claim(purchase)
        owner = account.account(purchase.payment.network, purchase.payment.payer)
        made = make_lease(owner, vmid=10000 + len(self.leases), size=asked.size)
        if self.pending or purchase.wait_seconds == 0:
            made = made.evolve(status=lease.LeaseStatus.RESERVED, expires_at=None)
            return service.Answer(
                lease=self.add(made), order=settled_order(purchase, settled=False)
            )
        return service.Answer(
            lease=self.add(made),
            order=settled_order(purchase),
            access_token="token-of-the-lease-1234",
        )

    async def renew(
        self,
        row: lease.Lease,
        minutes: int,
        purchase: service.Purchase,
        caller: service.Caller | None = None,
    ) -> service.Answer:
        self._called("renew", (row, minutes, purchase, caller))
        if purchase.too_late is not None:
            return self._join(purchase)
        self._claim(purchase)
        if purchase.wait_seconds == 0:
            return service.Answer(lease=row, order=settled_order(purchase, settled=False))
        longer = row.evolve(expires_at=(row.expires_at or NOW) + timedelta(minutes=minutes))
        return service.Answer(lease=self.add(longer), order=settled_order(purchase))

    def _join(self, purchase: service.Purchase) -> service.Answer:
        if purchase.too_late is not None and purchase.payment.key not in self.payments:
            raise purchase.too_late
        joined = next(iter(self.leases.values()))
        return service.Answer(lease=joined, order=settled_order(purchase))

    async def pay_fee(self, purchase: service.Purchase, route: str, canonical: Any) -> order.Order:
        self._called("pay_fee", (purchase, route))
        self._claim(purchase)
        return settled_order(purchase)

    async def find(self, id_text: str, caller: service.Caller | None = None) -> lease.Lease:
        self._called("find", (id_text, caller))
        for found in self.leases.values():
            if id_text in {found.lease_id, found.ctid} and _theirs(caller, found):
                return found
        raise errors.LeaseNotFound

    async def list_leases(
        self, caller: service.Caller, *, include_over: bool = False
    ) -> list[service.LeaseView]:
        self._called("list_leases", (caller, include_over))
        return [self._view(row) for row in self.leases.values() if _theirs(caller, row)]

    async def view(self, row: lease.Lease, *, wait_seconds: float = 0.0) -> service.LeaseView:
        self._called("view", row)
        return self._view(row)

    async def node_figures(self) -> list[resources.NodeSummary]:
        self._called("node_figures")
        node = resources.NodeSummary(
            node="pve1",
            online=True,
            uptime_seconds=3600,
            cpu_usage=0.5,
            cpu_cores=8,
            memory_used=4 * 2**30,
            memory_total=16 * 2**30,
            disk_used=10 * 2**30,
            disk_total=100 * 2**30,
        )
        return [node]

    async def require_active(self, row: lease.Lease) -> None:
        row.check_usable(datetime.now(UTC))

    async def end(self, row: lease.Lease) -> lease.Lease:
        self._called("end", row)
        return self.add(row.evolve(status=lease.LeaseStatus.STOPPING))

    async def check_switch(self, row: lease.Lease) -> None:
        power_rules.check_running_time(row)

    check_start = check_switch

    async def check_use(self, row: lease.Lease, use: power.Use) -> bool:
        self._called("check_use", use)
        return row.is_woken_by(use)

    async def note_use(self, row: lease.Lease) -> lease.Lease:
        return row

    async def wake_for(self, row: lease.Lease, use: power.Use) -> lease.Lease:
        if not row.is_woken_by(use):
            return row
        self._called("wake_for", use)
        return self.add(row.evolve(wanted=power.Wanted.RUNNING, paused_at=None, paused={}))

    async def check_pause(self, row: lease.Lease) -> None:
        self._called("check_pause", row)
        power_rules.check_running_time(row)

    async def pause(self, row: lease.Lease) -> lease.Lease:
        self._called("pause", row)
        return self.add(row.evolve(wanted=power.Wanted.STOPPED, pause_asked_at=NOW))

    async def start(self, row: lease.Lease) -> lease.Lease:
        self._called("start", row)
        return self.add(row.evolve(wanted=power.Wanted.RUNNING))

    async def stop(self, row: lease.Lease) -> lease.Lease:
        self._called("stop", row)
        return self.add(row.evolve(wanted=power.Wanted.STOPPED))

    async def reboot(self, row: lease.Lease) -> lease.Lease:
        self._called("reboot", row)
        return row

    def _claim(self, purchase: service.Purchase) -> None:
        if purchase.payment.key in self.payments:
            raise errors.PaymentReused
        self.payments.add(purchase.payment.key)

    def _view(self, row: lease.Lease) -> service.LeaseView:
        shown = self.proxmox_seen and not self.guests_missing
        guest = make_guest(row) if shown else None
        return service.LeaseView(lease=row, guest=guest, seen=self.proxmox_seen)


def _snapshot(row: lease.Lease, name: str) -> snapshots.Snapshot:
    return snapshots.Snapshot(
        lease_id=row.lease_id,
        name=name,
        pve_name=snapshots.new_pve_name(),
        state=snapshots.State.THERE,
        created_at=NOW,
    )


def _theirs(caller: service.Caller | None, row: lease.Lease) -> bool:
    if caller is None:
        return True
    if caller.lease_id is not None:
        return caller.lease_id == row.lease_id
    return caller.owner == row.owner


def settled_order(purchase: service.Purchase, *, settled: bool = True) -> order.Order:
    payment = purchase.payment
    return order.Order(
        order_id="o1",
        kind=order.OrderKind.CREATION,
        status=order.OrderStatus.SETTLED if settled else order.OrderStatus.WORKING,
        lease_id=None,
        network=payment.network,
        asset=payment.asset,
        payer=payment.payer,
        nonce=payment.nonce,
        pay_to=payment.pay_to,
        amount_atomic=payment.amount_atomic,
        valid_before=NOW,
        minutes=1,
        request_hash="",
        idempotency_hash=None,
        created_at=NOW,
        transaction=TRANSACTION if settled else None,
    )
