"""No address is held twice or lost, whatever happens to leases in whatever order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import settings as limits
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from tests.support import fake_leases, migrated

from pve402.domain import errors, lease, making, mark, networks, placement
from pve402.leases import moves, options, reservation
from pve402.storage import address_rows, database, lease_rows, tables

POOL = networks.AddressPool(
    subnet=networks.IPv4Network("10.7.0.0/29"),
    gateway=None,
    numbers=(0x0A070001, 0x0A070002),
)
NETWORK = networks.NetworkProfile(name="lan", bridge="vmbr0", ipv4=POOL)
POOLS = [POOL.numbers, POOL.numbers[:1], (*POOL.numbers, 0x0A070003), (0x0A070004,)]
ROOMS = [placement.NodeRoom(node="pve", online=True)]
SETTINGS = options.LeaseOptions(instance="test", default_template="t", address_rest_seconds=600.0)
KEY = b"k" * 32


class Killed(Exception):
    """The process dies here."""


class Addresses(RuleBasedStateMachine):
    """Leases that come and go, next to the guests that really have their addresses."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._databases = 0
        self._descriptions: dict[str, str] = {}  # of the guests that stand
        self._unwritten: dict[str, str] = {}  # leases whose guest is gone, with its address
        self._resting: dict[str, float] = {}  # address: when it was given back
        self._vmids = itertools.count(50_000)
        self._clock = 0.0
        self._pool = POOL
        self._db = self._run(self._open())

    def teardown(self) -> None:
        self._run(self._db.close())
        self._loop.close()
        self._folder.cleanup()

    @rule(target=leases, crash=st.booleans())
    def create(self, crash: bool) -> Any:
        """Reserve; a crash in the transaction leaves nothing behind."""
        resting = self._at_rest()
        try:
            row = self._run(self._reserve(crash))
        except errors.NoCapacity:
            free = {str(address) for address in self._pool.addresses()}
            assert free <= self._held().keys() | self._at_rest()
            return multiple()
        except Killed:
            return multiple()
        assert row.addresses["ipv4"] not in resting
        assert self._pool.hands_out(ip_address(row.addresses["ipv4"]))
        record = mark.GuestRecord(
            lease_id=row.lease_id,
            owner="somebody",
            sku=row.sku,
            size=row.size,
            expires_at=row.created_at,
            network=row.network,
            addresses=row.addresses,
        )
        self._descriptions[row.lease_id] = mark.describe(record, KEY)
        return row.lease_id

    @rule(lease_id=leases, keeps_vmid=st.booleans())
    def make_anew(self, lease_id: str, *, keeps_vmid: bool) -> None:
        """Its guest failed and is made again elsewhere, with the same addresses."""
        if lease_id in self._descriptions:
            self._run(self._make_anew(lease_id, keeps_vmid=keeps_vmid))

    @rule(numbers=st.sampled_from(POOLS))
    def change_catalogue(self, numbers: tuple[int, ...]) -> None:
        """The pool hands out other addresses; those in use stay with their leases."""
        self._pool = dataclasses.replace(POOL, numbers=numbers)

    @rule(lease_id=leases, settles=st.booleans())
    def renew(self, lease_id: str, settles: bool) -> None:
        """A renewal holds the lease, and extends it or is refused."""
        if lease_id in self._descriptions:
            self._run(self._renew(lease_id, settles=settles))

    @rule(lease_id=leases, crash=st.booleans())
    def end(self, lease_id: str, crash: bool) -> None:
        """The guest goes first; if the row is not written then, its address stays held."""
        if lease_id in self._descriptions:
            record = mark.read_description(self._descriptions.pop(lease_id), KEY)
            assert record is not None
            self._unwritten[lease_id] = record.addresses["ipv4"]
        if lease_id in self._unwritten:
            with contextlib.suppress(Killed):
                self._run(self._release(lease_id, crash=crash))
                self._resting[self._unwritten.pop(lease_id)] = self._clock

    @rule(seconds=st.sampled_from([1.0, 599.0, 601.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self._clock += seconds
        self._db.shift_seconds = self._clock

    @rule()
    def rebuild(self) -> None:
        """The database is lost, and written again from what guests say."""
        self._run(self._db.close())
        self._resting.clear()
        self._unwritten.clear()
        self._db = self._run(self._open())
        for description in self._descriptions.values():
            record = mark.read_description(description, KEY)
            assert record is not None
            self._run(self._restore(record))

    @invariant()
    def every_guest_holds_its_address_alone(self) -> None:
        """The rows say what the guests say."""
        records = [mark.read_description(one, KEY) for one in self._descriptions.values()]
        said = {one.addresses["ipv4"]: one.lease_id for one in records if one is not None}
        assert len(said) == len(records)
        assert self._held() == said | {one: name for name, one in self._unwritten.items()}

    def _at_rest(self) -> set[str]:
        return {one for one, at in self._resting.items() if self._clock < at + 600} - set(
            self._held()
        )

    def _held(self) -> dict[str, str]:
        return self._run(self._read_held())

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    async def _open(self) -> database.Database:
        self._databases += 1
        path = Path(self._folder.name) / f"{self._databases}.sqlite3"
        url = migrated.lay_sqlite(f"sqlite+aiosqlite:///{path}")
        opened = await database.Database(url).open()
        opened.shift_seconds = self._clock
        return opened

    async def _reserve(self, crash: bool) -> lease.Lease:
        new = fake_leases.make_lease("eip155:1:0x0").evolve(
            status=lease.LeaseStatus.RESERVED, expires_at=None
        )
        async with self._db.begin() as tx:
            row = await reservation.reserve(
                self._db,
                tx,
                new,
                SETTINGS,
                rooms=ROOMS,
                how=self._how(),
            )
            if crash:
                raise Killed
        return row

    async def _make_anew(self, lease_id: str, *, keeps_vmid: bool) -> None:
        async with self._db.begin() as tx:
            row = await lease_rows.get(tx, lease_id)
            assert row is not None
            if row.status is lease.LeaseStatus.RESERVED:  # and not rebuilt from its guest
                await reservation.make_anew(
                    self._db,
                    tx,
                    row,
                    SETTINGS,
                    rooms=ROOMS,
                    how=self._how(),
                    keeps_vmid=keeps_vmid,
                )

    def _how(self) -> making.Making:
        network = dataclasses.replace(NETWORK, ipv4=self._pool)
        return making.Making(network=network, nodes=frozenset(), storages=(), made_of="")

    async def _renew(self, lease_id: str, *, settles: bool) -> None:
        async with self._db.begin() as tx:
            row = await lease_rows.get(tx, lease_id)
            assert row is not None
            if row.status is not lease.LeaseStatus.ACTIVE:
                return
            now = await self._db.time_in(tx)
            row = await moves.hold(tx, row, "o" + "1" * 30, now)
            row = await moves.extend(tx, row, 5, now) if settles else row
            await moves.release_hold(tx, row)

    async def _release(self, lease_id: str, *, crash: bool) -> None:
        async with self._db.begin() as tx:
            await address_rows.release(self._db, tx, lease_id, SETTINGS.address_rest_seconds)
            if crash:
                raise Killed

    async def _restore(self, record: mark.GuestRecord) -> None:
        row = fake_leases.make_lease(record.owner).evolve(
            lease_id=record.lease_id,
            network=record.network,
            addresses=record.addresses,
            vmid=next(self._vmids),
        )
        async with self._db.begin() as tx:
            await reservation.restore(self._db, tx, row)

    async def _read_held(self) -> dict[str, str]:
        rows = tables.addresses.c
        async with self._db.read() as tx:
            query = sa.select(rows.address, rows.lease_id).where(rows.released_at.is_(None))
            return {str(address): str(holder) for address, holder in await tx.execute(query)}


Addresses.TestCase.settings = limits(max_examples=10, stateful_step_count=15, deadline=None)
TestAddresses = Addresses.TestCase


def test_a_freed_address_rests_though_the_pool_is_empty() -> None:
    """One order of events that a search may miss."""
    world = Addresses()
    first, second = world.create(crash=False), world.create(crash=False)
    world.end(first, crash=True)
    world.end(first, crash=False)
    refused = world.create(crash=False)
    world.make_anew(second, keeps_vmid=False)
    world.wait(601.0)
    third = world.create(crash=False)
    world.rebuild()
    world.every_guest_holds_its_address_alone()
    world.teardown()

    assert isinstance(first, str)
    assert not isinstance(refused, str)
    assert isinstance(third, str)
