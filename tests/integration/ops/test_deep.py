"""`doctor --deep` on the simulator's real packets: what is stopped, and each hole by name."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from devnet.tests.integration.wires.conftest import packets
from rich.console import Console
from tests.support import installation

from pve402 import bootstrap
from pve402.guests import probes
from pve402.leases import tenant_rules
from pve402.ops import doctor
from pve402.ops.checks import deep
from pve402.proxmox import firewall
from pve402.storage import address_rows, lease_rows, proof_rows
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve import NodeOptions, SimulatedProxmox, options
from pve402_devnet.terminal.manners import TerminalManners
from pve402_devnet.terminal.service import Consoles
from pve402_devnet.wires.cluster import ClusterNetwork

__all__ = ["packets"]

pytestmark = pytest.mark.namespaces

NODE = "10.77.0.1"
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
NETWORK = f"""
[network.lan]
default = true
bridge = "vmbr0"
nameservers = ["{NODE}"]
ipv4 = {{ subnet = "10.77.0.0/24", gateway = "{NODE}", ranges = ["10.77.0.10-10.77.0.40"] }}
"""
NOWHERE = SimpleNamespace(url="http://127.0.0.1:9")
WANTED = deep.Deep(target=("internet.test", 80), mail="mail.test")


@dataclasses.dataclass(kw_only=True)
class Bench:
    """A simulated node with packets, and an operator who runs the doctor."""

    proxmox: SimulatedProxmox
    folder: Path
    parts: bootstrap.Components

    async def examine(self, **changes: Any) -> tuple[int, dict[str, str]]:
        """Run the doctor; its exit status, and what it says of each subject, by its first words."""

        async def sleep(seconds: float) -> None:
            self.parts.db.shift_seconds += seconds
            await asyncio.sleep(0.15)  # the simulator polls its rules meanwhile

        screen = Console(file=io.StringIO(), width=300)
        wanted = dataclasses.replace(WANTED, sleep=sleep, **changes)
        status = await doctor.examine_deeply(self.parts, screen, wanted=wanted)
        text = screen.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
        said = [line.split(None, 1) for line in text.splitlines()]
        return status, {what.partition(": ")[0]: f"{mark} {what}" for mark, what in said}

    async def proofs(self) -> Mapping[str, proof_rows.Proof]:
        """The nodes that are known to isolate."""
        return await self.parts.firewalls.proofs()


@contextlib.asynccontextmanager
async def benches(folder: Path, network: str) -> AsyncIterator[Bench]:
    runtime = NamespaceRuntime(RuntimeOptions(disks=str(folder / "disks")))
    consoles = Consoles(runtime, TerminalManners())
    chosen = options.SimulatorOptions(
        progress=options.Progress.BY_TIME,
        latency_scale=0,
        publish_interval_seconds=0.05,
        nodes=(NodeOptions(address=NODE),),
    )
    wires = ClusterNetwork(runtime, serves=True)
    book = folder / "catalogue.toml"
    book.write_text(SHIPPED + network)
    proxmox = SimulatedProxmox(chosen, guest_runtime=runtime, terminal=consoles, network=wires)
    async with proxmox:
        proxmox.world.firewalls.cluster.options["enable"] = 1
        for macro in ("DNS", "Ping"):
            rule = {"type": "in", "action": "ACCEPT", "macro": macro, "enable": 1}
            proxmox.world.firewalls.node("pve").rules.append(rule)
        settings = installation.settings(
            f"sqlite:///{folder}/db",
            proxmox,
            NOWHERE,  # type: ignore[arg-type]  # nobody pays
            NOWHERE,  # type: ignore[arg-type]
            pve402_catalogue=book,
        )
        parts = bootstrap.build(settings)
        parts.probes = probes.Probes(parts.guest_work.hub, patience_seconds=1)
        try:
            yield Bench(proxmox=proxmox, folder=folder, parts=parts)
        finally:
            await parts.close()
            consoles.close()
            await runtime.close()


@pytest.fixture
async def bench(packets: None, tmp_path: Path) -> AsyncIterator[Bench]:
    """An isolated network."""
    async with benches(tmp_path, NETWORK + 'isolation = "tenant"\n') as made:
        yield made


async def test_a_network_that_isolates_passes_and_nothing_is_left(bench: Bench) -> None:
    status, said = await bench.examine()

    async with bench.parts.db.read() as tx:
        trials = await lease_rows.list_trials(tx)
        addresses = await address_rows.list_holdings(tx, "10.77.0.12", None)
    assert status == 0, said
    assert {line.split()[0] for line in said.values()} == {"ok"}
    assert (await bench.proofs())["pve"].program == firewall.CLASSIC
    assert bench.proxmox.world.guests == {}
    assert trials == []
    assert addresses[0].released_at is not None


Plant = Callable[[firewall.Ruleset], firewall.Ruleset]
HOLES: Mapping[str, tuple[Plant, Mapping[str, str]]] = {
    "no way inside": (
        lambda whole: _without(whole, "no way inside"),
        {
            "no packet to the nodes and their API": f"tcp {NODE} port 8006",
            "no packet to a private address": "ping 10.77.0.11",
            "no packet to the other guest": "ping 10.77.0.11",
            "no packet to the router, but for names and ping": f"tcp {NODE} port 22",
        },
    ),
    "all others": (
        lambda whole: _with_options(
            _without(whole, "no mail"), ipfilter="0", macfilter="0", policy_in="ACCEPT"
        ),
        {
            "no packet to port 25": "tcp 203.0.113.9 port 25",
            "no packet from a forged source": f"ping {NODE} as 10.77.0.12",
            "no ARP from a forged source": f"arp {NODE} as 10.77.0.12",
            "no packet from a forged hardware address": f"ping {NODE} as 02:00:00:00:00:99",
            "no packet from the other guest": "ping 10.77.0.10",
        },
    ),
}


def _without(whole: firewall.Ruleset, comment: str) -> firewall.Ruleset:
    kept = tuple(rule for rule in whole.rules if rule.comment != comment)
    return dataclasses.replace(whole, rules=kept)


def _with_options(whole: firewall.Ruleset, **changes: str) -> firewall.Ruleset:
    return dataclasses.replace(whole, options={**whole.options, **changes})


@pytest.mark.parametrize("hole", HOLES)
async def test_each_hole_is_found_and_its_packet_named(
    bench: Bench, hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, passing = HOLES[hole]
    rules_of = tenant_rules.rules_of
    monkeypatch.setattr(
        tenant_rules, "rules_of", lambda *given, **more: plant(rules_of(*given, **more))
    )

    status, said = await bench.examine()

    assert status == 1
    assert {what for what, line in said.items() if line.startswith("FAIL")} == set(passing)
    for what, packet in passing.items():
        assert packet in said[what]
    assert await bench.proofs() == {}
    assert bench.proxmox.world.guests == {}
