"""The doctor's trial guests: nobody's, unsold, and gone whatever becomes of the doctor."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.integration.leases import test_crashes as crashes
from tests.support.installation import Installation, running, settings

from pve402 import bootstrap
from pve402.domain import lease
from pve402.guests.probes import Fate, Probe, Sent
from pve402.leases import making_turns, workflow
from pve402.leases.images import trials
from pve402.ops import doctor, rebuild, who
from pve402.ops.checks import deep
from pve402.storage import lease_rows, usage_rows
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

World = tuple[SimulatedProxmox, SimulatedChain, SimulatedFacilitator]
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
NETWORK = """
[network.tenants]
default = true
bridge = "vmbr0"
isolation = "tenant"
nameservers = ["10.7.0.1"]
ipv4 = { subnet = "10.7.0.0/24", gateway = "10.7.0.1", ranges = ["10.7.0.10-10.7.0.99"] }
"""
WANTED = deep.Deep(target=("internet.test", 80), mail="mail.test")


class Obedient:
    """Guests in which all goes as the rules in the simulator's files say."""

    def __init__(self, proxmox: SimulatedProxmox, *, tools: bool = True) -> None:
        self._proxmox = proxmox
        self._tools = tools

    async def greet(self, row: lease.Lease) -> None:
        assert self._proxmox.world.guests[row.vmid].pid is not None

    async def own_addresses(self, row: lease.Lease) -> frozenset[str]:
        return frozenset(row.addresses.values())

    async def resolve(self, row: lease.Lease, name: str) -> tuple[str, ...]:
        del row
        return ("203.0.113.9",) if name.endswith(".test") else ()

    async def send(self, row: lease.Lease, probes: Sequence[Probe]) -> dict[Probe, Sent]:
        if not self._tools:
            return dict.fromkeys(probes, Sent(fate=Fate.UNSENT, reason="no ping"))
        world = self._proxmox.world
        on = [world.firewalls.read_guest(vmid).options.get("enable") for vmid in world.guests]
        return {probe: Sent(fate=_fate(probe, fenced=1 in on)) for probe in probes}


def _fate(probe: Probe, *, fenced: bool) -> Fate:
    is_allowed = (probe.host, probe.port, probe.source) == ("203.0.113.9", 80, None)
    return Fate.ARRIVED if is_allowed or not fenced else Fate.SILENT


@pytest.fixture
def world(
    proxmox: SimulatedProxmox, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> World:
    """The simulators, with the datacenter's firewall on."""
    proxmox.world.firewalls.cluster.options["enable"] = 1
    return proxmox, chain, facilitator


@pytest.fixture
def chosen(tmp_path: Path) -> dict[str, Any]:
    """Settings of an operator with an isolated network."""
    book = tmp_path / "catalogue.toml"
    book.write_text(SHIPPED + NETWORK)
    return {"pve402_catalogue": book}


@pytest.fixture
async def service(
    database_url: str, world: World, chosen: dict[str, Any]
) -> AsyncIterator[Installation]:
    """A running service."""
    async with running(database_url, *world, **chosen) as made:
        yield made


@pytest.fixture
async def beside(
    database_url: str, world: World, chosen: dict[str, Any]
) -> AsyncIterator[bootstrap.Components]:
    """The operator's process."""
    async with operator(database_url, world, chosen) as parts:
        yield parts


@contextlib.asynccontextmanager
async def operator(
    database_url: str, world: World, chosen: dict[str, Any], **how: Any
) -> AsyncIterator[bootstrap.Components]:
    parts = bootstrap.build(settings(database_url, *world, **chosen))
    parts.probes = Obedient(world[0], **how)
    try:
        yield parts
    finally:
        await parts.close()


async def examine(parts: bootstrap.Components, **changes: Any) -> tuple[int, str]:
    """Run the doctor at once; its exit status and what it says."""

    async def sleep(seconds: float) -> None:
        parts.db.shift_seconds += seconds
        await asyncio.sleep(0)

    screen = Console(file=io.StringIO(), width=300)
    wanted = deep.Deep(**{**_words(), "sleep": sleep, **changes})
    status = await doctor.examine_deeply(parts, screen, wanted=wanted)
    return status, screen.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO


def _words() -> dict[str, Any]:
    return {"target": WANTED.target, "mail": WANTED.mail}


async def trials_of(parts: bootstrap.Components) -> list[lease.Lease]:
    async with parts.db.read() as tx:
        return await lease_rows.list_trials(tx)


async def test_beside_a_service_all_is_shown_and_removed(
    service: Installation, beside: bootstrap.Components
) -> None:
    tenant = service.tenant()
    kept = (await service.lease(tenant)).lease
    service.proxmox.world.firewalls.guest(kept.vmid).options.clear()  # its rules are not the point

    status, said = await examine(beside)

    assert status == 0, said
    assert "everything removed" in said
    assert service.marked_guests == {kept.vmid}
    assert await trials_of(beside) == []
    ended = [row for row in await service.leases_now() if row.is_trial]
    assert {(row.status.value, row.end_reason) for row in ended} == {("failed", "trial_over")}


async def test_before_the_first_start_the_doctor_makes_the_tables(
    beside: bootstrap.Components,
) -> None:
    status, said = await examine(beside)

    assert status == 0, said


async def test_a_tool_that_lacks_is_unknown_and_not_a_pass(
    database_url: str, world: World, chosen: dict[str, Any]
) -> None:
    async with operator(database_url, world, chosen, tools=False) as parts:
        status, said = await examine(parts)
        proofs = await parts.firewalls.proofs()

    assert status == 1
    assert "unknown no packet to port 25: not sent: tcp 203.0.113.9 port 25 (no ping)" in said
    assert "FAIL" not in said
    assert proofs == {}
    assert world[0].world.guests == {}


POINTS = ["create", "start", "isolate"]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("helper", ["service", "next doctor"])
async def test_a_doctor_that_dies_leaves_no_guest(
    service: Installation,
    database_url: str,
    world: World,
    chosen: dict[str, Any],
    point: str,
    helper: str,
) -> None:
    async with operator(database_url, world, chosen) as dying:
        await _die_at(dying, point)
        guests = set(service.marked_guests)
        left = await trials_of(dying)
    late = trials.HOLD_SECONDS + service.parts.lease_options.late_create_seconds + 2

    if helper == "service":
        await crashes.come_round(service, late)
    else:
        await service.die()
        async with operator(database_url, world, chosen) as again:
            again.db.shift_seconds = late
            status, said = await examine(again)
            assert (status, f"{len(left)} of an earlier check were removed" in said) == (0, True)

    assert len(left) == 3
    assert guests or point == "create"
    assert service.marked_guests == set()
    assert await trials_of(service.parts) == []


async def _die_at(parts: bootstrap.Components, point: str) -> None:
    """Run the doctor until it has done a step, and kill it there: nothing is tidied up."""
    reached, never = asyncio.Event(), asyncio.Event()
    honest = getattr(parts.trials, point)

    async def hanging(*given: Any) -> Any:
        await honest(*given)
        reached.set()
        await never.wait()

    async def dead(*_: Any) -> str:
        return "it is dead"

    setattr(parts.trials, point, hanging)
    parts.trials.remove_held = dead  # type: ignore[method-assign]
    running_doctor = asyncio.create_task(examine(parts))
    await asyncio.wait_for(reached.wait(), 20)
    running_doctor.cancel()
    await asyncio.gather(running_doctor, return_exceptions=True)


async def test_an_interrupted_doctor_removes_its_guests(
    service: Installation, beside: bootstrap.Components
) -> None:
    reached = asyncio.Event()
    honest = beside.trials.start

    async def waiting(row: lease.Lease) -> None:
        await honest(row)
        reached.set()
        await asyncio.Event().wait()

    beside.trials.start = waiting  # type: ignore[method-assign]
    asking = asyncio.create_task(examine(beside))
    await asyncio.wait_for(reached.wait(), 20)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert service.marked_guests == set()
    assert await trials_of(beside) == []


async def test_a_guest_that_does_not_start_is_told_and_removed(
    service: Installation, beside: bootstrap.Components
) -> None:
    service.fail_call("POST .*/status/start")

    status, said = await examine(beside)

    assert status == 1
    assert "started: ProxmoxFault" in said
    assert service.marked_guests == set()


async def test_a_guest_that_is_somebody_elses_by_now_is_left_alone(
    service: Installation, beside: bootstrap.Components
) -> None:
    guests = service.proxmox.world.guests
    honest = beside.trials.isolate
    before = {}

    async def late(row: lease.Lease, sleep: trials.Sleep) -> lease.Lease:
        options = guests[row.vmid].config.options
        options["tags"] = "somebody-else"
        before[row.vmid] = dict(options)
        return await honest(row, sleep)

    beside.trials.isolate = late  # type: ignore[method-assign]

    status, said = await examine(beside)

    assert status == 1
    assert "is not the lease's" in said
    assert {vmid: guest.config.options for vmid, guest in guests.items()} == before


async def test_a_removal_that_is_refused_is_tried_again(
    service: Installation, beside: bootstrap.Components
) -> None:
    service.fail_call("DELETE .*/lxc/[0-9]+")

    status, said = await examine(beside)

    assert status == 0, said
    assert "everything removed" in said
    assert service.marked_guests == set()


async def test_a_node_with_the_other_firewall_sells_once_it_was_proven(
    service: Installation, beside: bootstrap.Components
) -> None:
    node = service.proxmox.world.firewalls.node("pve")
    node.options["nftables"] = 1
    view = service.parts.firewalls

    await view.look()
    before = view.problem
    status, said = await examine(beside)
    await view.look()
    proven = view.problem
    (package,) = [one for one in service.proxmox.world.nodes["pve"].packages if "proxmox" in one[0]]
    nodes = service.proxmox.world.nodes
    nodes["pve"] = dataclasses.replace(nodes["pve"], packages=((package[0], "9.9.9"),))
    await view.look()
    updated = view.problem

    assert before is not None
    assert "doctor --deep" in before
    assert (status, proven) == (0, None), said
    assert f"isolates guests, with proxmox-firewall {package[1]}" in said
    assert updated == before


async def test_a_packet_that_passes_takes_the_proof_away(
    service: Installation, beside: bootstrap.Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _ = await examine(beside)
    proven = await beside.firewalls.proofs()
    monkeypatch.setattr(f"{__name__}._fate", lambda *_, **__: Fate.ARRIVED)

    again, said = await examine(beside)

    assert (status, again, set(proven)) == (0, 1, {"pve"})
    assert "FAIL no packet to port 25: it arrives: tcp 203.0.113.9 port 25" in said
    assert await beside.firewalls.proofs() == {}


async def test_a_trial_counts_for_nobody(
    service: Installation, beside: bootstrap.Components
) -> None:
    network = beside.leases.catalogue.networks["tenants"]
    async with beside.trials.reserved(network, None, 1) as (row,):
        async with beside.db.read() as tx:
            new = await usage_rows.of_new_wallets(beside.db, tx, 60)
            pool = await lease_rows.list_warm_pool(tx)
        await service.parts.filler.run_once()
        asked = Console(file=(told := io.StringIO()), width=300)
        await who.Who(address=row.addresses["ipv4"]).run(beside, asked)
        shown = [one.lease_id for one in await trials_of(beside)]
        left = await beside.trials.remove_held(row, asyncio.sleep)

    assert (new.leases, pool, shown) == (0, [], [row.lease_id])
    assert "nobody: the doctor tried it" in told.getvalue()
    assert "ops suspend" not in told.getvalue()
    assert left is None


async def test_a_trial_that_gets_no_turn_in_time_is_given_up(
    service: Installation, beside: bootstrap.Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        beside.db.shift_seconds += 300.0
        raise workflow.RetryLater("the node makes 8 guests already")

    monkeypatch.setattr(making_turns, "take", full)
    network = beside.leases.catalogue.networks["tenants"]

    async with beside.trials.reserved(network, None, 1) as (row,):
        with pytest.raises(workflow.GiveUp, match="makes 8 guests"):
            async with asyncio.timeout(10):
                await beside.trials.create(row)
        left = await beside.trials.remove_held(row, asyncio.sleep)

    assert left is None
    assert service.marked_guests == set()


async def test_a_lost_table_brings_a_trial_back_for_minutes(
    tmp_path: Path,
    service: Installation,
    beside: bootstrap.Components,
    world: World,
    chosen: dict[str, Any],
) -> None:
    network = beside.leases.catalogue.networks["tenants"]
    async with beside.trials.reserved(network, None, 1) as (row,):
        await beside.trials.start(await beside.trials.create(row))
        await service.proxmox.publish()
    await service.die()
    anew = f"sqlite:///{tmp_path}/anew"
    async with operator(anew, world, chosen) as parts:
        await rebuild.Rebuild(apply=True).run(parts, Console(quiet=True))

    async with running(anew, *world, **chosen) as second:
        (back,) = await second.leases_now()
        second.pass_time(lease.LONGEST_TRIAL.total_seconds() + 1)
        await second.settled_down()
        (ended,) = await second.leases_now()
        guests = second.marked_guests

    assert (back.owner, back.status) == (lease.DOCTOR, lease.LeaseStatus.ACTIVE)
    assert ended.status is lease.LeaseStatus.ENDED
    assert guests == set()
