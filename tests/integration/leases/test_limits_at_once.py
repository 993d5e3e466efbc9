"""Creations that come to three replicas at the same moment exceed no limit."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.integration.leases.test_isolation import SHIPPED, walled
from tests.support.installation import Installation, World, creation, running

from pve402.domain import errors, lease, quota
from pve402_devnet.pve.faults import FaultKind

__all__ = ["walled"]

pytestmark = pytest.mark.postgres

AT_ONCE = 20
SMALL = lease.Size(cores=1, memory_mb=512, disk_gb=8)
LEARNED = """
[network.tenants]
default = true
isolation = "tenant"
bridge = "vmbr0"
ipv4 = { subnet = "10.99.0.0/24", gateway = "10.99.0.1", from = "dhcp" }
"""
LIMITS = [  # each party, each resource
    ("wallet", "addresses=3"),
    ("wallet", "memoryMB=2000"),
    ("address", "cores=3"),
    ("new_wallet", "diskGB=31"),
    ("new_wallet", "leases=3"),
]


@contextlib.asynccontextmanager
async def replicas(url: str, world: World, **settings: Any) -> AsyncIterator[list[Installation]]:
    """Three installations on one database."""
    async with contextlib.AsyncExitStack() as stack:
        entering = (stack.enter_async_context(running(url, *world, **settings)) for _ in range(3))
        yield [await one for one in entering]


async def race(
    made: Sequence[Installation], *, one_wallet: bool, one_address: bool
) -> collections.Counter[str]:
    """Ask for twenty containers at once, each replica in turn; what was answered."""
    wish, own = creation(size=SMALL), made[0].tenant(usdc_atomic=10_000_000)
    turns = zip(range(AT_ONCE), itertools.cycle(made))

    async def buy(number: int, service: Installation) -> str:
        address = "198.51.100.1" if one_address else f"203.0.113.{number}"
        key = own if one_wallet else service.tenant()
        asked = service.buy(key, wish, wait_seconds=0.0, client_address=address)
        try:
            await service.leases.create(wish, asked)
        except errors.Pve402Error as error:
            return error.code
        return "taken"

    return collections.Counter(await asyncio.gather(*(buy(*turn) for turn in turns)))


PARTIES = {
    "wallet": {"one_wallet": True, "one_address": False},
    "address": {"one_wallet": False, "one_address": True},
    "new_wallet": {"one_wallet": False, "one_address": False},
}
ANY_NUMBER = {
    "pve402_max_unsettled_per_wallet": 100,
    "pve402_max_unsettled_per_address": 100,
}


@pytest.mark.parametrize(("party", "limit"), LIMITS)
async def test_no_more_is_leased_than_one_may(
    walled: World, migrated_url: str, tmp_path: Path, party: str, limit: str
) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(SHIPPED + LEARNED)
    limits = {f"pve402_{party}_limits": quota.Quota.parse(limit), **ANY_NUMBER}
    async with replicas(migrated_url, walled, pve402_catalogue=file, **limits) as made:
        answers = await race(made, **PARTIES[party])

        assert answers == {"taken": 3, "limit_reached": 17}
        assert len(await made[0].leases_now()) == 3


@pytest.mark.parametrize(
    ("party", "setting"),
    [
        ("wallet", "pve402_max_unsettled_per_wallet"),
        ("address", "pve402_max_unsettled_per_address"),
        ("new_wallet", "pve402_max_unsettled_of_new_wallets"),
    ],
)
async def test_no_more_waits_for_settlement_than_one_may(
    world: World, migrated_url: str, party: str, setting: str
) -> None:
    limits = {**ANY_NUMBER, setting: 3}
    async with replicas(migrated_url, world, **limits) as made:
        made[0].fail_call(r"POST /nodes/pve/lxc$", FaultKind.SLOW, seconds=60.0, times=50)

        answers = await race(made, **PARTIES[party])
        for one in made:  # ending in order would wait for the containers
            await one.die()

        assert answers == {"taken": 3, "too_many_unsettled": 17}
