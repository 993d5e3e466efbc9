"""Guests on real cables, where this machine can have them."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from devnet.tests.support import wire_rig

from pve402_devnet.wires.cluster import ClusterNetwork
from pve402_devnet.wires.namespace import NoNetwork

NOT_SHOWN = "not shown"


class _Nobody:
    def process_of(self, vmid: int) -> int | None:
        return None

    def live_within(self, process: int) -> None:
        """No guest will come."""


@functools.cache
def _refusal() -> str | None:
    """Why this machine cannot have such a network; None where it can."""

    async def try_it() -> None:
        network = ClusterNetwork(_Nobody())
        try:
            await network.start(["pve"])
        finally:
            await network.stop()

    try:
        asyncio.run(try_it())
    except (NoNetwork, RuntimeError) as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def packets() -> None:
    """Skip what needs real packets on a machine without them, unless it must have them."""
    refusal = _refusal()
    if refusal is None:
        return
    if os.environ.get("NOTHING_SKIPPED"):
        pytest.fail(f"this machine must show packets: {refusal}")
    pytest.skip(f"{NOT_SHOWN}: {refusal}")


@pytest.fixture
async def wires(packets: None, tmp_path: Path) -> AsyncIterator[wire_rig.Wires]:
    """A node without guests, to which a test adds what it needs."""
    async with wire_rig.wires(tmp_path) as made:
        yield made


@pytest.fixture
async def two_nodes(packets: None, tmp_path: Path) -> AsyncIterator[wire_rig.Wires]:
    """Two nodes without guests, on one switch."""
    async with wire_rig.wires(tmp_path, nodes=wire_rig.TWO_NODES) as made:
        yield made
