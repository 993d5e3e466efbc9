"""Rules that were written ahead are on no guest but their own, and on no vmid given up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.leases.test_creation import foreign
from tests.integration.leases.test_isolation import catalogue_file
from tests.integration.leases.test_turns import busy
from tests.support.installation import Installation, World, running, simulated_proxmox

from pve402.domain import lease
from pve402_devnet.pve.faults import FaultKind, TaskFault
from pve402_devnet.pve.simulator import SimulatedProxmox

__all__ = ["catalogue_file"]

FIRST = "two"  # of nodes that are alike, the last one by name


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """Two nodes whose work takes no time, with the datacenter's firewall on."""
    async with simulated_proxmox("one", FIRST) as made:
        made.world.firewalls.cluster.options["enable"] = 1
        yield made


@pytest.fixture
async def fenced(tmp_path: Path, world: World, catalogue_file: Path) -> AsyncIterator[Installation]:
    """An installation with an isolated network."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_catalogue=catalogue_file) as made:
        yield made


def rules_of(made: Installation, vmid: int) -> list[Any]:
    return list(made.proxmox.world.firewalls.read_guest(vmid).rules)


async def test_rules_of_a_node_that_died_are_cleared_through_another(
    fenced: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests = fenced.parts.guests
    honest, asked = guests.create, list[tuple[int, bool]]()

    async def create(ref: Any, spec: Any) -> Any:
        if ref.node == FIRST:
            asked.append((ref.vmid, bool(rules_of(fenced, ref.vmid))))
            fenced.fail_call(f"/nodes/{FIRST}/", FaultKind.UNREACHABLE, times=1000)
        return await honest(ref, spec)

    monkeypatch.setattr(guests, "create", create)

    row = (await fenced.lease()).lease

    ((given_up, had_rules),) = asked
    assert had_rules
    assert (row.node, row.vmid) != (FIRST, given_up)
    assert rules_of(fenced, given_up) == []
    assert rules_of(fenced, row.vmid)


async def test_the_firewall_of_a_foreign_guest_on_the_vmid_is_left_alone(
    fenced: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fenced.proxmox.world.faults.order_for_task(TaskFault(type="vzstart", text="it failed"))
    machines, replaced = fenced.parts.machines, list[int]()
    honest = machines.ensure_gone

    async def then_foreign(row: lease.Lease) -> bool:
        if not replaced:
            replaced.append(row.vmid)
            fenced.proxmox.world.guests[row.vmid].config.options["tags"] = "somebody-else"
        return await honest(row)

    monkeypatch.setattr(machines, "ensure_gone", then_foreign)

    row = (await fenced.lease()).lease

    assert row.vmid not in replaced
    assert rules_of(fenced, replaced[0])


async def test_a_foreign_guest_that_appears_while_we_wait_gets_no_rules(
    fenced: Installation,
) -> None:
    vmid = (await fenced.lease()).lease.vmid + 1
    await fenced.settled_down()
    asked = fenced.record_proxmox_calls()
    async with contextlib.AsyncExitStack() as turns:
        for node in ("one", FIRST):
            await turns.enter_async_context(busy(fenced, node))
        asking = asyncio.create_task(fenced.lease())
        async with asyncio.timeout(20):
            while "GET /cluster/nextid" not in asked:  # noqa: ASYNC110 -- nothing to wait for
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # it waits for its turn
        fenced.proxmox.world.guests[vmid] = foreign(fenced)
    row = (await asking).lease

    assert row.vmid != vmid
    assert rules_of(fenced, vmid) == []
    assert rules_of(fenced, row.vmid)
