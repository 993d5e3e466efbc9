"""The datacenter's firewall is switched on by `pve402 setup --run`, and never cuts off for good."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.integration.setup.test_printed import SUBNET, asked
from tests.support.admin import PACE, administrator, killed_at, type_on_node
from tests.support.pasted import RootShell

from pve402.proxmox import tasks
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.setup import configuration, firewalling, main, reach, switching
from pve402_devnet.pve import simulator
from pve402_devnet.pve.faults import CallFault, FaultKind
from pve402_devnet.pve.firewall import files
from pve402_devnet.pve.options import NodeOptions, Progress, SimulatorOptions

DESK = "10.99.0.50"
BEHIND_NAT = "192.0.2.7"


@pytest.fixture
async def proxmox() -> AsyncIterator[simulator.SimulatedProxmox]:
    """A node that sees its callers come from a desk in its own network."""
    async with seen_from(DESK) as running:
        yield running


@contextlib.asynccontextmanager
async def seen_from(address: str, *nodes: NodeOptions) -> AsyncIterator[simulator.SimulatedProxmox]:
    """A cluster whose firewall decides about callers from an address."""
    chosen = SimulatorOptions(
        callers_address=address,
        nodes=nodes or (NodeOptions(),),
        progress=Progress.IMMEDIATELY,
        publish_interval_seconds=0.05,
        auth_failure_seconds=0.0,
    )
    async with simulator.SimulatedProxmox(chosen) as running:
        yield running


def wish(folder: Path, proxmox: simulator.SimulatedProxmox, **changes: Any) -> configuration.Asked:
    """A set-up of an isolated network, by somebody at the desk."""
    chosen = {"over_api": True, "nodes": (), "subnet": SUBNET} | changes
    chosen.setdefault("ways", firewalling.Ways(sources=(DESK,), ssh_port=9))
    return asked(folder, proxmox.base_url, **chosen)


def is_on(proxmox: simulator.SimulatedProxmox) -> bool:
    """Whether the datacenter's firewall is on."""
    return proxmox.world.firewalls.cluster.options.get("enable") == 1


async def takes_connections(proxmox: simulator.SimulatedProxmox) -> bool:
    """Whether a new connection to the API succeeds."""
    parts = urlsplit(proxmox.base_url)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def test_it_writes_rules_narrows_switches_on_and_tests(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    operator = administrator(proxmox)

    assert await main.execute(wish(tmp_path, proxmox), operator, PACE) == 0

    assert is_on(proxmox)
    assert await takes_connections(proxmox)
    assert proxmox.world.firewalls.cluster.aliases["local_network"]["cidr"] == "10.99.0.1"
    rules = proxmox.world.firewalls.node("pve").rules
    assert {(rule.get("dport") or rule.get("macro"), rule.get("source")) for rule in rules} == {
        ("9,22,8006," + urlsplit(proxmox.base_url).netloc.partition(":")[2], DESK),
        ("Ping", None),
        ("67", None),
        ("DNS", None),
    }
    assert {rule["enable"] for rule in rules} == {1}
    said = operator.everything
    assert (
        said.index("systemd-run") < said.index("With the firewall on") < said.rindex(switching.STOP)
    )


async def test_the_timer_is_the_one_that_the_page_names() -> None:
    line = switching.timer_line(switching.Pace().timer_seconds)

    assert "systemd-run --on-active=60 " in line
    assert line.endswith(" pvesh set /cluster/firewall/options --enable 0")


@dataclasses.dataclass(kw_only=True)
class NodeShell:
    """A root shell on the node, whose timer ends once the set-up says that it is cut off."""

    proxmox: simulator.SimulatedProxmox
    refused: list[bool] = dataclasses.field(default_factory=list)
    tasks: list[asyncio.Task[None]] = dataclasses.field(default_factory=list)

    def start(self) -> None:
        """Let the timer's time come soon."""
        self.tasks.append(asyncio.create_task(self._run_out()))

    async def _run_out(self) -> None:
        self.refused.append(not await takes_connections(self.proxmox))
        await asyncio.sleep(0.1)
        type_on_node(self.proxmox, switching.timer_line(60))


async def test_a_cut_is_told_and_ends_with_the_timer(tmp_path: Path) -> None:
    async with seen_from(BEHIND_NAT) as proxmox:
        shell = NodeShell(proxmox=proxmox)
        operator = administrator(proxmox, does={"Leave the timer alone": shell.start})

        status = await main.execute(wish(tmp_path, proxmox), operator, PACE)

        assert (status, shell.refused, is_on(proxmox)) == (main.EXIT_FAILED, [True], False)
        assert await takes_connections(proxmox)
        assert "The firewall is off again, and the node answers" in operator.everything
        assert "stays on" not in operator.everything


async def test_after_a_cut_the_right_address_is_all_it_takes(tmp_path: Path) -> None:
    async with seen_from(BEHIND_NAT) as proxmox:
        shell = NodeShell(proxmox=proxmox)
        await main.execute(
            wish(tmp_path, proxmox),
            administrator(proxmox, does={"Leave the timer alone": shell.start}),
            PACE,
        )
        right = wish(
            tmp_path, proxmox, ways=firewalling.Ways(sources=(DESK, BEHIND_NAT), ssh_port=9)
        )
        operator = administrator(proxmox)

        assert await main.execute(right, operator, PACE) == 0

        assert is_on(proxmox)
        assert await takes_connections(proxmox)
        (change,) = (one for one in operator.told if "\n  pve" in one)
        assert change.startswith(f"rule on pve: administration from {DESK},{BEHIND_NAT}\n")


async def test_without_its_timer_a_cut_is_told_as_it_is(tmp_path: Path) -> None:
    async with seen_from(BEHIND_NAT) as proxmox:
        operator = administrator(proxmox)

        status = await main.execute(wish(tmp_path, proxmox), operator, PACE)

        assert (status, await takes_connections(proxmox)) == (main.EXIT_FAILED, False)
        assert "The node does not answer. On its own console" in operator.everything
        (typed,) = (line for line in operator.told[-1].splitlines() if "pvesh" in line)
        type_on_node(proxmox, typed)
        await asyncio.sleep(0.2)
        assert await takes_connections(proxmox)


async def test_it_stays_off_while_nobody_says_that_the_timer_runs(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    operator = administrator(proxmox, yes=("Make these",))

    assert await main.execute(wish(tmp_path, proxmox), operator, PACE) == main.EXIT_NOT_DONE

    assert not is_on(proxmox)
    assert "stays off" in operator.told[-1]
    assert "nothing is sold from an isolated network" in operator.told[-1]


@pytest.mark.parametrize(("takes_seconds", "rounds"), [(29, 1), (31, 3)])
async def test_a_timer_that_may_be_over_does_not_count(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, takes_seconds: int, rounds: int
) -> None:
    passed = itertools.count(0, takes_seconds)
    pace = dataclasses.replace(
        PACE, timer_seconds=60, clock=lambda: float(next(passed)), sleep=_shortly
    )
    operator = administrator(proxmox)

    await main.execute(wish(tmp_path, proxmox), operator, pace)

    assert sum("Start this timer first" in one for one in operator.told) == rounds
    assert is_on(proxmox) == (rounds == 1)


async def _shortly(_: float) -> None:
    await asyncio.sleep(0.3)


async def test_a_timer_that_nobody_stopped_is_noticed(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    def runs_out() -> None:
        type_on_node(proxmox, switching.timer_line(60))

    operator = administrator(proxmox, does={"Looking once more": runs_out})

    assert await main.execute(wish(tmp_path, proxmox), operator, PACE) == main.EXIT_FAILED

    assert "The timer has switched the firewall off again" in operator.told[-1]


@pytest.mark.parametrize("executed", [False, True])
async def test_a_lost_answer_of_the_switch_is_looked_up(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, executed: bool
) -> None:
    fault = CallFault(
        pattern="PUT /cluster/firewall/options", kind=FaultKind.DROP, executed=executed, times=1
    )
    proxmox.world.faults.order(fault)
    operator = administrator(proxmox)

    status = await main.execute(wish(tmp_path, proxmox), operator, PACE)

    assert (status == 0) == is_on(proxmox) == executed
    last = "stays on" if executed else "Start the timer again on pve, let it run out"
    assert last in operator.told[-1]


async def test_ssh_that_falls_silent_switches_it_off_at_once(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"" if is_on(proxmox) else b"SSH-2.0-OpenSSH_10.0\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ways = firewalling.Ways(sources=(DESK,), ssh_port=port)
    operator = administrator(proxmox)

    status = await main.execute(wish(tmp_path, proxmox, ways=ways), operator, PACE)
    server.close()

    assert (status, is_on(proxmox)) == (main.EXIT_FAILED, False)
    assert f"SSH at 127.0.0.1:{port} does not answer from here any more" in operator.everything


async def test_a_node_that_falls_silent_after_the_test_is_told(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    def falls_silent() -> None:
        proxmox.world.faults.order(
            CallFault(pattern="POST /access/ticket", kind=FaultKind.DROP, times=100)
        )

    operator = administrator(proxmox, does={"Looking once more": falls_silent})

    assert await main.execute(wish(tmp_path, proxmox), operator, PACE) == main.EXIT_FAILED

    assert switching.OFF in operator.told[-1]
    assert "On its own console" in operator.told[-1]


async def test_over_loopback_the_test_from_here_is_said_to_prove_little(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    operator = administrator(proxmox)

    await main.execute(wish(tmp_path, proxmox), operator, PACE)

    told = operator.everything
    assert told.index("or a tunnel, which no firewall stops") < told.index("systemd-run")


async def test_a_firewall_that_filters_no_hardware_addresses_is_no_isolation(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    proxmox.world.firewalls.cluster.options["ebtables"] = 0
    proxmox.world.firewalls.node("pve").options["nftables"] = 1
    operator = administrator(proxmox)

    assert await main.execute(wish(tmp_path, proxmox), operator, PACE) == main.EXIT_FAILED

    assert "Nothing is isolated yet: the datacenter filters no ARP" in operator.told[-1]
    assert "pve filters with nftables" in operator.told[-2]


async def test_while_a_node_is_offline_nothing_is_switched(tmp_path: Path) -> None:
    nodes = (NodeOptions(), NodeOptions(name="b", address="10.99.0.2", online=False))
    async with seen_from(DESK, *nodes) as proxmox:
        operator = administrator(proxmox)

        status = await main.execute(wish(tmp_path, proxmox, nodes=("pve",)), operator, PACE)

        assert (status, is_on(proxmox)) == (main.EXIT_NOT_DONE, False)
        assert "b cannot be reached" in operator.told[-1]


async def test_nodes_let_each_other_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[reach.Door] = []

    async def answering(doors: Sequence[reach.Door], _: float) -> list[reach.Door]:
        asked_for.extend(doors)
        return [*doors]

    monkeypatch.setattr(reach, "answering", answering)
    nodes = (NodeOptions(), NodeOptions(name="b", address="10.99.0.2"))
    async with seen_from(DESK, *nodes) as proxmox:
        operator = administrator(proxmox, yes=("Make these",))

        await main.execute(wish(tmp_path, proxmox, nodes=("pve",)), operator, PACE)

        firewalls = proxmox.world.firewalls
        sources = {name: _source_of_nodes(firewalls.node(name)) for name in ("pve", "b")}
        assert sources == {"pve": ["10.99.0.2"], "b": ["10.99.0.1"]}
        assert firewalls.cluster.aliases["local_network"]["cidr"] == "10.99.0.1"
        assert {(door.host, door.port) for door in asked_for} > {
            ("10.99.0.1", 8006),
            ("10.99.0.2", 8006),
            ("10.99.0.1", 9),
            ("10.99.0.2", 9),
        }


def _source_of_nodes(file: files.FirewallFile) -> list[object]:
    ours = [rule for rule in file.rules if "other nodes" in str(rule.get("comment"))]
    return [rule["source"] for rule in ours if "proto" not in rule and rule["enable"]]


async def test_guests_that_will_be_filtered_are_listed(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    await _make_guest(proxmox, 101, "name=eth0,bridge=vmbr0,firewall=1", enable=1)
    await _make_guest(proxmox, 102, "name=eth0,bridge=vmbr0,firewall=1", enable=0)
    await _make_guest(proxmox, 103, "name=eth0,bridge=vmbr0", enable=1)
    operator = administrator(proxmox, yes=("Make these",))

    await main.execute(wish(tmp_path, proxmox), operator, PACE)

    listed = [line for line in operator.told if line.startswith("  CT ")]
    assert listed == ["  CT 101 web-101 on pve: in DROP, out ACCEPT, besides its rules"]
    told = operator.told
    assert told.index(listed[0]) < next(n for n, one in enumerate(told) if "systemd-run" in one)


async def _make_guest(
    proxmox: simulator.SimulatedProxmox, vmid: int, card: str, *, enable: int
) -> None:
    login = ProxmoxOptions(
        host=proxmox.base_url, token_id=proxmox.token_id, token_secret=proxmox.token_secret
    )
    form: dict[str, str | int] = {
        "vmid": vmid,
        "hostname": f"web-{vmid}",
        "ostemplate": "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz",
        "rootfs": "local:1",
        "net0": card,
    }
    async with ProxmoxClient(login) as client:
        upid = tasks.Upid.parse(await client.call("POST", "/nodes/pve/lxc", form))
        await tasks.Tasks(client).wait_until_finished(upid, limit_seconds=10)
        path = f"/nodes/pve/lxc/{vmid}/firewall/options"
        await client.call("PUT", path, {"enable": enable})
    await proxmox.publish()


async def test_repeated_it_changes_nothing_and_asks_for_no_address(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    await main.execute(wish(tmp_path, proxmox), administrator(proxmox), PACE)
    before = [dict(rule) for rule in proxmox.world.firewalls.node("pve").rules]
    operator = administrator(proxmox)
    again = wish(tmp_path, proxmox, ways=firewalling.Ways(ssh_port=9))

    assert await main.execute(again, operator, PACE) == 0

    assert proxmox.world.firewalls.node("pve").rules == before
    assert [one for one in operator.questions if "root@pam" not in one] == [
        "Administrator for this run, as name@realm"
    ]


async def test_with_the_firewall_on_rules_are_added_and_nothing_is_narrowed(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    proxmox.world.firewalls.cluster.options["enable"] = 1
    operator = administrator(proxmox)

    assert await main.execute(wish(tmp_path, proxmox), operator, PACE) == 0

    assert len(proxmox.world.firewalls.node("pve").rules) == 4
    assert proxmox.world.firewalls.cluster.aliases == {}
    assert "systemd-run" not in operator.everything


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_of_its_changes_it_cuts_nobody_off_for_good(
    tmp_path: Path, number: int, after: bool
) -> None:
    async with seen_from(DESK) as proxmox:
        with killed_at(number, after=after, part="firewall"):
            await main.execute(wish(tmp_path, proxmox), administrator(proxmox), PACE)
        assert is_on(proxmox) == (number == 5 and after)
        type_on_node(proxmox, switching.timer_line(60))

        assert await main.execute(wish(tmp_path, proxmox), administrator(proxmox), PACE) == 0

        assert is_on(proxmox)
        assert len(proxmox.world.firewalls.node("pve").rules) == 4


async def test_the_printed_block_does_the_same_in_a_safe_order(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    printed = wish(tmp_path, proxmox, over_api=False, nodes=("pve=10.99.0.1",))
    operator = administrator(proxmox)

    assert await main.execute(printed, operator) == 0

    lines = [line for line in operator.lines if "aplinfo" not in line]
    async with _root_shell(proxmox) as shell:
        await shell.paste(lines)
        assert is_on(proxmox)
        assert await takes_connections(proxmox)
        rules = [dict(rule) for rule in proxmox.world.firewalls.node("pve").rules]
        await shell.end_timer()
        assert not is_on(proxmox)
        await shell.paste(lines)
    assert proxmox.world.firewalls.node("pve").rules == rules
    assert len(rules) == 4
    wanted = ("/nodes/pve/firewall/rules", "aliases", "options --enable 1")
    order = [_first(lines, part) for part in wanted]
    assert order == sorted(order)


def _first(lines: list[str], part: str) -> int:
    return next(n for n, line in enumerate(lines) if part in line)


async def test_the_printed_line_that_switches_on_starts_the_timer_anew(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    printed = wish(tmp_path, proxmox, over_api=False, nodes=("pve=10.99.0.1",))
    operator = administrator(proxmox)
    await main.execute(printed, operator)

    (line,) = [one for one in operator.lines if "options --enable 1" in one]

    assert line.startswith(f"{switching.timer_line(60)} && pvesh set ")


@contextlib.asynccontextmanager
async def _root_shell(proxmox: simulator.SimulatedProxmox) -> AsyncIterator[RootShell]:
    options = ProxmoxOptions(
        host=proxmox.base_url, token_id=proxmox.token_id, token_secret=proxmox.token_secret
    )
    async with ProxmoxClient(options) as client:
        yield RootShell(client)
