"""A guest may appear after its order was forgotten, lost its row, or was repeated."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.integration.leases.test_crashes import come_round, hang_at
from tests.support.installation import Installation, creation, running

from pve402.domain import errors, lease
from pve402.proxmox import errors as pve
from pve402.storage import tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve import faults
from pve402_devnet.pve.simulator import SimulatedProxmox

CREATE = r"POST /nodes/pve/lxc$"
Status = lease.LeaseStatus


async def test_a_guest_that_the_database_forgot_is_recognised(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    url, wish = f"sqlite:///{tmp_path}/db.sqlite3", creation()
    async with running(url, proxmox, chain, facilitator) as first:
        reached = hang_at(first, ("guests", "create"), "after")
        await first.leases.create(wish, first.buy(first.tenant(), wish, wait_seconds=0.0))
        await until(reached.is_set)
        await first.die()
        await write(first, tables.leases, create_sent_at=None)

    async with running(url, proxmox, chain, facilitator) as second:
        await come_round(second)
        (row,) = await second.leases_now()

        assert row.status is Status.ACTIVE
        assert second.marked_guests == {row.vmid}


async def test_who_lost_the_row_while_it_waited_for_its_turn_asks_for_nothing(
    installation: Installation,
) -> None:
    asked, wish = installation.record_proxmox_calls(), creation()
    purchase = installation.buy(installation.tenant(), wish, wait_seconds=0.0)
    async with contextlib.AsyncExitStack() as turns:
        for _ in range(installation.parts.lease_options.writes_on(None)):
            await turns.enter_async_context(installation.parts.machines.turn_to_write("pve"))
        await installation.leases.create(wish, purchase)
        await until(lambda: "GET /cluster/nextid" in asked)
        await asyncio.sleep(0.1)  # it waits for its turn
        await write(installation, tables.orders, fence="of another process")

    await until(lambda: installation.parts.lease_worker.busy == 0)

    assert "POST /nodes/pve/lxc" not in asked
    assert installation.marked_guests == set()


async def test_a_creation_whose_task_has_left_no_record_is_looked_for_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.fail_call(CREATE, faults.FaultKind.GATEWAY_TIMEOUT)
    machines = installation.parts.machines
    waited_for: list[str] = []

    async def forgotten(row: lease.Lease, upid: str) -> None:
        await wait(row, upid)
        waited_for.append(upid)
        raise pve.TaskMissing("no such task", call="GET task", subject=upid)

    wait = machines.wait_until_created
    monkeypatch.setattr(machines, "wait_until_created", forgotten)

    answer = await installation.lease()

    assert len(waited_for) == 1
    assert answer.lease.status is Status.ACTIVE
    assert installation.marked_guests == {answer.lease.vmid}


async def test_an_earlier_request_is_waited_out_although_a_later_one_failed(
    installation: Installation,
) -> None:
    installation.fail_call(CREATE, faults.FaultKind.GATEWAY_TIMEOUT)
    sku = installation.leases.catalogue.sku("standard-lxc")
    object.__setattr__(sku, "templates", {"corrupt": "local:vztmpl/corrupt_1_amd64.tar.gz"})

    with pytest.raises(errors.ProvisioningFailed):
        await installation.lease(template="corrupt")
    await installation.settled_down()
    (waits,) = await installation.leases_now()
    installation.pass_time(installation.parts.lease_options.late_create_seconds + 60)
    await installation.settled_down()

    (gone,) = await installation.leases_now()
    assert waits.status is Status.UNWINDING
    assert gone.status is Status.FAILED


async def write(installation: Installation, table: sa.Table, **values: object) -> None:
    """Change every row of a table, behind the service's back."""
    async with installation.parts.db.begin() as tx:
        await tx.execute(table.update().values(values))


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("it did not come to hold")
