"""A whole installation in one process: simulated Proxmox, chain and facilitator, our own parts.

`proxmox`, `database_url` and `installation` are fixtures; `running` starts an installation on a
database. Nothing here knows how the parts work inside; tests order faults at the simulators and
look at the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from eth_account.signers.local import LocalAccount
from tests.support import chain as chain_support
from tests.support import migrated, payments, rekeying, shell_looks

from pve402 import bootstrap, config
from pve402.domain import account, lease, mark, order, price, request
from pve402.leases import options, service
from pve402.payments import protocol
from pve402.storage import lease_rows, tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve import simulator
from pve402_devnet.pve.faults import CallFault, FaultKind
from pve402_devnet.pve.options import (
    NodeOptions,
    Progress,
    SimulatorOptions,
    StorageOptions,
)

PAY_TO = "0x00000000000000000000000000000000000a11ce"
TEMPLATE = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"
NETWORK = "eip155:84532"

#: What is tried again is tried again soon: nothing here takes as long as a real node.
_RETRY_SECONDS = 0.05

World = tuple[simulator.SimulatedProxmox, SimulatedChain, SimulatedFacilitator]


@pytest.fixture
async def proxmox() -> AsyncIterator[simulator.SimulatedProxmox]:
    """A cluster of one node whose work takes no time."""
    async with simulated_proxmox() as running:
        yield running


@pytest.fixture
def world(
    proxmox: simulator.SimulatedProxmox, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> World:
    """What lives on when an installation ends, and what several may share."""
    return proxmox, chain, facilitator


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database of either kind without rows, as an operator writes it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/pve402.sqlite3"
    url: str = request.getfixturevalue("migrated_url")
    return url.replace("postgresql+asyncpg://", "postgresql://")


@pytest.fixture
async def installation(
    database_url: str,
    proxmox: simulator.SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """A running installation."""
    async with running(database_url, proxmox, chain, facilitator) as made:
        yield made


def simulated_proxmox(
    *nodes: str, storage: StorageOptions | None = None
) -> simulator.SimulatedProxmox:
    """A cluster whose work takes no time."""
    chosen = SimulatorOptions(
        nodes=tuple(NodeOptions(name=name) for name in nodes or ("pve",)),
        storages=(storage or StorageOptions(),),
        progress=Progress.IMMEDIATELY,
        publish_interval_seconds=0.05,
        auth_failure_seconds=0.0,
    )
    return simulator.SimulatedProxmox(chosen)


@contextlib.asynccontextmanager
async def running(
    database_url: str,
    proxmox: simulator.SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    **changes: Any,
) -> AsyncIterator[Installation]:
    """Start an installation on a database, with changed settings; a new file has its tables."""
    migrated.lay_sqlite(database_url)
    with (
        rekeying.installed() as fake,
        shell_looks.installed() as shells,
        pytest.MonkeyPatch.context() as patch,
    ):
        impatient = functools.partial(options.WorkerOptions, retry_least_seconds=_RETRY_SECONDS)
        patch.setattr(options, "WorkerOptions", impatient)
        parts = bootstrap.build(settings(database_url, proxmox, chain, facilitator, **changes))
    async with parts:
        made = Installation(
            parts=parts,
            proxmox=proxmox,
            chain=chain,
            facilitator=facilitator,
            rekey=fake,
            shells=shells,
        )
        fake.runs = shells.runs = made.runs
        yield made


def settings(
    database_url: str,
    proxmox: simulator.SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    **changes: Any,
) -> config.Settings:
    """Settings of an operator who uses the simulators."""
    chosen: dict[str, Any] = {
        "pve_host": proxmox.base_url,
        "pve_token_id": proxmox.token_id,
        "pve_token_secret": proxmox.token_secret,
        "pve_storage": "local",
        "pve_os_template": TEMPLATE,
        "pay_to": PAY_TO,
        "rpc_url": chain.url,
        "facilitator_url": facilitator.url,
        "database_url": database_url,
        "pve402_secret_key": "k" * 32,
        "pve402_public_url": "http://127.0.0.1:4021",
        "pve402_instance": "test",
        "pve402_node_writes": 4,
    }
    return _Told(_env_file=None, **{**chosen, **changes})


class _Told(config.Settings):
    """Settings that a test says: to look for more takes as long as to lease a container."""

    @classmethod
    def settings_customise_sources(
        cls, _settings_cls: Any, init_settings: Any, *_others: Any, **_more: Any
    ) -> tuple[Any, ...]:
        """Read nothing else."""
        return (init_settings,)


@dataclasses.dataclass(kw_only=True)
class Installation:
    """A running installation and the world it lives in."""

    parts: bootstrap.Components
    proxmox: simulator.SimulatedProxmox
    chain: SimulatedChain
    facilitator: SimulatedFacilitator
    rekey: rekeying.FakeRekey
    shells: shell_looks.FakeShells = dataclasses.field(default_factory=shell_looks.FakeShells)
    tenants: list[LocalAccount] = dataclasses.field(default_factory=list)

    @property
    def leases(self) -> service.LeaseService:
        """The use cases under test."""
        return self.parts.leases

    def tenant(self, usdc_atomic: int = 1_000_000) -> LocalAccount:
        """A wallet with some USDC."""
        key = chain_support.funded_account(self.chain, usdc_atomic=usdc_atomic)
        self.tenants.append(key)
        return key

    def purchase(
        self,
        key: LocalAccount,
        amount_atomic: int,
        *,
        valid_seconds: int = 600,
        **changes: Any,
    ) -> service.Purchase:
        """A payment of the exact amount, signed by a tenant."""
        terms = payments.requirements(
            amount_atomic=amount_atomic, pay_to=PAY_TO, max_timeout_seconds=600
        )
        until = int(time.time() + self.parts.db.shift_seconds) + valid_seconds
        signed = payments.payment(key=key, terms=terms, valid_before=until)
        return service.Purchase(payment=signed, requirements=terms, **changes)

    def buy(
        self, key: LocalAccount, wish: request.CreationRequest, **changes: Any
    ) -> service.Purchase:
        """The payment for a creation."""
        return self.purchase(key, self.price_of(wish), **changes)

    def price_of(self, wish: request.CreationRequest) -> int:
        """The price of a creation in atomic units."""
        return price.atomic_units(self.leases.prices.of_creation(wish)[0], 6)

    async def lease(self, key: LocalAccount | None = None, **changes: Any) -> service.Answer:
        """Lease a small container to its end."""
        wish = creation(**changes)
        return await self.leases.create(wish, self.buy(key or self.tenant(), wish))

    def renewal(
        self, key: LocalAccount, row: lease.Lease, minutes: int, **changes: Any
    ) -> service.Purchase:
        """The payment for a renewal."""
        usd = self.leases.prices.of_renewal(row, minutes)[0]
        return self.purchase(key, price.atomic_units(usd, 6), **changes)

    @property
    def earned(self) -> int:
        """What the operator has been paid, in atomic units."""
        return self.chain.usdc_balance(PAY_TO)

    @property
    def marked_guests(self) -> set[int]:
        """The vmids of guests that carry this installation's tag."""
        tag = mark.instance_tag(self.parts.lease_options.instance)
        guests = self.proxmox.world.guests.values()
        return {guest.vmid for guest in guests if tag in guest.config.text("tags").split(";")}

    def runs(self, vmid: int) -> bool:
        """Whether a guest stands and runs."""
        guest = self.proxmox.world.guests.get(vmid)
        return guest is not None and guest.pid is not None

    def fail_call(self, pattern: str, kind: FaultKind = FaultKind.ERROR, **changes: Any) -> None:
        """Have the next Proxmox call whose `METHOD path` matches go wrong."""
        text = {"text": "simulated failure"} if kind is FaultKind.ERROR else {}
        self.proxmox.world.faults.order(
            CallFault(pattern=pattern, kind=kind, **{**text, **changes})
        )

    @contextlib.asynccontextmanager
    async def holding(self, pattern: str) -> AsyncIterator[None]:
        """Send no Proxmox call whose `METHOD path` matches before the block ends."""
        honest, goes_on = self.parts.proxmox.request, asyncio.Event()

        async def held(method: str, path: str, *rest: Any, **named: Any) -> Any:
            if re.search(pattern, f"{method} {path}"):
                await goes_on.wait()
            return await honest(method, path, *rest, **named)

        self.parts.proxmox.request = held  # type: ignore[method-assign]
        try:
            yield
        finally:
            self.parts.proxmox.request = honest  # type: ignore[method-assign]
            goes_on.set()

    async def settled_down(self) -> None:
        """Wait until no row is worked on and none is due."""
        for _ in range(1000):
            self.parts.lease_worker.wake()
            await asyncio.sleep(0.01)
            if self.parts.lease_worker.busy == 0 and not await self._due():
                return
        raise TimeoutError("rows are still due")

    async def _due(self) -> bool:
        now = self.parts.db.now()
        async with self.parts.db.read() as tx:
            for table in (tables.orders, tables.leases):
                waiting = sa.or_(table.c.due_at <= now, table.c.fence.isnot(None))
                found = sa.select(sa.func.count()).select_from(table).where(waiting)
                if await tx.scalar(found):
                    return True
        return False

    async def die(self) -> None:
        """End at once, as a killed process does: nothing is handed over or written."""
        lease_worker = self.parts.lease_worker
        await self.parts.filler.stop()
        await self.parts.image_keeper.stop()
        await self.parts.lease_reconciler.stop()
        tasks = [*lease_worker._running, *lease_worker._taking, *lease_worker._loops]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lease_worker._held.clear()

    async def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        """All rows of a table, oldest first."""
        async with self.parts.db.read() as tx:
            found = await tx.execute(sa.select(table).order_by(table.c.created_at))
            return [dict(row) for row in found.mappings()]

    async def leases_now(self) -> list[lease.Lease]:
        """Every lease as its row stands."""
        return [lease.Lease.from_row(row) for row in await self.rows(tables.leases)]

    async def orders_now(self) -> list[order.Order]:
        """Every order as its row stands."""
        return [order.Order.from_row(row) for row in await self.rows(tables.orders)]

    async def pool_of(self, count: int) -> list[lease.Lease]:
        """Wait until so many warm guests wait and no other is being made; longest waiting first."""
        for _ in range(2000):
            async with self.parts.db.read() as tx:
                rows = await lease_rows.list_warm_pool(tx)
            ready = [row for row in rows if row.status is lease.LeaseStatus.POOLED]
            if len(ready) == count == len(rows):
                return sorted(ready, key=lambda row: row.pooled_at or row.created_at)
            self.parts.filler.wake()
            self.parts.lease_worker.wake()
            await asyncio.sleep(0.005)
        raise TimeoutError("the pool is not as wanted")

    async def until_status(self, status: lease.LeaseStatus) -> lease.Lease:
        """Wait until a lease has a status."""
        return await self.until(lambda row: row.status is status)

    async def until(self, holds: Callable[[lease.Lease], bool]) -> lease.Lease:
        """Wait until something holds of a lease."""
        for _ in range(4000):
            for row in await self.leases_now():
                if holds(row):
                    return row
            await asyncio.sleep(0.005)
        raise TimeoutError("it did not come to hold of any lease")

    async def spend_elsewhere(self, purchase: service.Purchase) -> None:
        """Have the payer spend the payment's nonce on somebody else."""
        spent = purchase.payment
        key = next(key for key in self.tenants if key.address.lower() == spent.payer)
        terms = payments.requirements(amount_atomic=1, pay_to=payments.SOMEBODY)
        other = payments.payment(
            key=key, terms=terms, nonce=spent.nonce, valid_before=spent.valid_before
        )
        done = await self.parts.settler._routes[NETWORK].facilitator.settle(other, terms)
        assert done.outcome.value == "settled"

    def record_proxmox_calls(self, *, early_shells: bool = False) -> list[str]:
        """Write down every call made to Proxmox from now on, as `METHOD path`.

        Left out are the preflight's, which looks each minute, at no test's bidding, and unless
        asked for those that open a new guest's shell, which may come after its lease is sold.
        """
        left_out = {"preflight"} if early_shells else {"preflight", "early-shell"}
        asked: list[str] = []
        honest = self.parts.proxmox.request

        async def recording(method: str, path: str, *rest: Any, **named: Any) -> Any:
            task = asyncio.current_task()
            if task is None or task.get_name() not in left_out:
                asked.append(f"{method} {path}")
            return await honest(method, path, *rest, **named)

        self.parts.proxmox.request = recording  # type: ignore[method-assign]
        return asked

    def pass_time(self, seconds: float) -> None:
        """Move the database's clock on, so that leases fall due."""
        self.parts.db.shift_seconds += seconds
        self.parts.lease_worker.wake()


def creation(**changes: Any) -> request.CreationRequest:
    """A wish for a small container."""
    wish: dict[str, Any] = {
        "sku": "standard-lxc",
        "minutes": 60,
        "hostname": "demo-server",
        "size": lease.Size(cores=1, memory_mb=512, disk_gb=8),
        "password": "correct horse",
    }
    return request.CreationRequest(**{**wish, **changes})


def owner_of(key: LocalAccount) -> str:
    """The CAIP-10 account of a tenant."""
    return account.account(NETWORK, key.address)


def protocol_key(purchase: service.Purchase) -> protocol.PaymentKey:
    """What makes the payment of a purchase unique."""
    return purchase.payment.key
