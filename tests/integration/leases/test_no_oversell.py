"""Three replicas place guests at the same time, and never promise more than a node has.

Each replica sees the cluster as it was at some moment of its own; creations crash before they are
committed, leases end, and nodes are drained, in any order.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as limits_of
from hypothesis import strategies as st
from tests.support import fake_leases, migrated
from tests.support.installation import PAY_TO

from pve402.domain import errors, lease, making, placement
from pve402.leases import moves, options, reservation
from pve402.storage import database, drain_rows, lease_rows, tables

GIB_MB = 1024
NETWORK = fake_leases.NETWORK
LIMITS = placement.Limits(leases_per_node=5, cores_overcommit=2.0, memory_reserve_mb=512)
SETTINGS = options.LeaseOptions(instance="test", default_template="t", limits=LIMITS)
HOW = making.Making(network=NETWORK, nodes=frozenset(), storages=("fast", "slow"), made_of="x" * 64)
Steps = Sequence[tuple[str, Any]]
NODES = ("one", "two", "three")


class Crash(Exception):
    """The process dies before it commits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """What a machine really has."""

    name: str
    cores: int
    memory_mb: int
    disks_gb: dict[str, int]

    def rooms(self, memory_used_mb: int) -> list[placement.NodeRoom]:
        return [
            placement.NodeRoom(
                node=self.name,
                storage=storage,
                online=True,
                cores=self.cores,
                memory_mb=self.memory_mb,
                memory_used_mb=memory_used_mb,
                disk_free_gb=free_gb,
                disk_gb=free_gb,
                disk_shared=storage == "slow",
            )
            for storage, free_gb in self.disks_gb.items()
        ]


SHARED_GB = st.integers(10, 120)
SIZES = st.builds(
    lease.Size,
    cores=st.integers(1, 4),
    memory_mb=st.integers(1, 8).map(lambda number: number * 512),
    disk_gb=st.integers(1, 24),
)
CREATION = st.tuples(st.just("create"), st.lists(st.tuples(SIZES, st.booleans()), max_size=6))
END = st.tuples(st.just("end"), st.integers(0, 30))
DRAIN = st.tuples(st.sampled_from(["drain", "undrain"]), st.sampled_from(NODES))
STEPS = st.lists(st.one_of(CREATION, CREATION, CREATION, END, DRAIN), min_size=1, max_size=12)


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    shared = draw(SHARED_GB)
    return [
        Node(
            name=name,
            cores=draw(st.integers(1, 8)),
            memory_mb=draw(st.integers(1, 16)) * GIB_MB,
            disks_gb={
                **({"fast": draw(st.integers(1, 40))} if draw(st.booleans()) else {}),
                "slow": shared,
            },
        )
        for name in NODES
    ]


class Replicas:
    """Three services over one database; SQLite has one process, and so one connection."""

    def __init__(self, url: str) -> None:
        self._opened = [database.Database(url)]
        if not self._opened[0].is_sqlite:
            self._opened += [database.Database(url) for _ in range(2)]
        self._wallets = itertools.count()

    async def __aenter__(self) -> Replicas:
        for db in self._opened:
            await db.open()
        self.each = list(itertools.islice(itertools.cycle(self._opened), 3))
        async with self.each[0].begin() as tx:
            for table in (tables.leases, tables.vmids, tables.drained_nodes):
                await tx.execute(sa.delete(table))
        return self

    async def __aexit__(self, *_: object) -> None:
        for db in self._opened:
            await db.close()

    async def create(
        self,
        db: database.Database,
        rooms: Sequence[placement.NodeRoom],
        size: lease.Size,
        crash: bool,
    ) -> None:
        owner = f"eip155:1:{PAY_TO}{next(self._wallets)}"
        wanted = fake_leases.make_lease(owner, size=size).evolve(
            status=lease.LeaseStatus.RESERVED, expires_at=None
        )
        try:
            async with db.begin() as tx:
                await reservation.lock_placement(db, tx)
                await reservation.reserve(db, tx, wanted, SETTINGS, rooms=rooms, how=HOW)
                if crash:
                    raise Crash
        except (Crash, errors.NoCapacity):
            pass

    async def end(self, number: int) -> None:
        db = self.each[number % 3]
        async with db.begin() as tx:
            rows = sorted(await lease_rows.list_standing(tx), key=lambda row: row.vmid)
            if rows:
                row = rows[number % len(rows)]
                unwinding = await moves.unwind(db, tx, row, "ended", "by the test")
                await moves.end(db, tx, unwinding, "ended")

    async def drain(self, verb: str, node: str) -> None:
        async with self.each[0].begin() as tx:
            if verb == "drain":
                await drain_rows.put(self.each[0], tx, node)
            else:
                await drain_rows.remove(tx, node)

    async def standing(self) -> list[lease.Lease]:
        async with self.each[0].read() as tx:
            return await lease_rows.list_standing(tx)

    async def drained(self) -> frozenset[str]:
        async with self.each[0].read() as tx:
            return await drain_rows.names(tx)


def check(nodes: Sequence[Node], rows: Sequence[lease.Lease]) -> None:
    """Nothing is promised twice, by figures that placement had no hand in."""
    assert len({row.vmid for row in rows}) == len(rows)
    disks: collections.Counter[tuple[str, str]] = collections.Counter()
    for node in nodes:
        here = [row for row in rows if row.node == node.name]
        assert len(here) <= (LIMITS.leases_per_node or 0)
        assert sum(row.size.cores for row in here) <= node.cores * LIMITS.cores_overcommit
        assert sum(row.size.memory_mb for row in here) <= max(
            0, node.memory_mb - LIMITS.memory_reserve_mb
        )
        for row in here:
            assert row.storage in node.disks_gb
            place = ("all" if row.storage == "slow" else node.name, str(row.storage))
            disks[place] += row.size.disk_gb
        fast = node.disks_gb.get("fast", 0)
        assert disks[node.name, "fast"] <= fast
    assert disks["all", "slow"] <= nodes[0].disks_gb["slow"]


async def live(
    url: str, nodes: Sequence[Node], steps: Sequence[tuple[str, Any]], stale: int
) -> int:
    async with Replicas(url) as replicas:
        seen = [room for node in nodes for room in node.rooms(stale)]
        for verb, what in steps:
            if verb == "create":
                before = {row.lease_id for row in await replicas.standing()}
                drained = await replicas.drained()
                await asyncio.gather(
                    *(
                        replicas.create(db, seen, size, crash=crash)
                        for db, (size, crash) in zip(
                            itertools.cycle(replicas.each), what, strict=False
                        )
                    )
                )
                new = [row for row in await replicas.standing() if row.lease_id not in before]
                assert drained.isdisjoint(row.node for row in new)
            elif verb == "end":
                await replicas.end(what)
            else:
                await replicas.drain(verb, what)
            check(nodes, await replicas.standing())
        return len(await replicas.standing())


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def shared_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """A database for all examples of a test."""
    if request.param == "sqlite":
        return migrated.lay_sqlite(f"sqlite+aiosqlite:///{tmp_path}/pve402.sqlite3")
    url: str = request.getfixturevalue("migrated_url")
    return url


@limits_of(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(nodes=clusters(), steps=STEPS, stale=st.integers(0, 4096))
def test_concurrent_placement_promises_nothing_twice(
    shared_url: str, nodes: list[Node], steps: list[tuple[str, Any]], stale: int
) -> None:
    asyncio.run(live(shared_url, nodes, steps, stale))


async def test_a_full_cluster_was_filled_to_the_last_place(shared_url: str) -> None:
    big = [
        Node(name=name, cores=64, memory_mb=64 * GIB_MB, disks_gb={"slow": 999}) for name in NODES
    ]
    small = lease.Size(cores=1, memory_mb=512, disk_gb=1)
    steps = [("create", [(small, False)] * 6)] * 4

    assert await live(shared_url, big, steps, 0) == 15
