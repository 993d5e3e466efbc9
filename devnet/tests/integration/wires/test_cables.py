"""Cables between guests: what follows a change at once, and what keeps its connections."""

import asyncio
import os
import signal
import tempfile

import aiohttp
import pytest
from devnet.tests.integration.command.test_parts import said, started
from devnet.tests.integration.guests.test_ordinary_user import run_as_nobody
from devnet.tests.support.wire_rig import CARD, GATEWAY, Wires

from pve402_devnet.wires import namespace

pytestmark = pytest.mark.namespaces

OUTSIDE = "203.0.113.9"


async def links_of(wires: Wires, node: str, card: str) -> int:
    """How many links a card has on a node."""
    listed = (await wires.network.node(node).run(["ip", "-o", "link"])).splitlines()
    return sum(card in line for line in listed)


async def test_a_card_changes_in_place(wires: Wires) -> None:
    guest = await wires.guest(121, firewall="1")
    neighbour = await wires.guest(122)
    await neighbour.do("listen", tcp=[80], udp=[9])
    assert await guest.do("keep", host="10.77.0.122", port=80)

    await wires.change_card(121, firewall="0")
    kept = await guest.do("more")
    await wires.change_card(121, ip="10.77.0.221/24")
    moved = [await neighbour.do("ping", host=f"10.77.0.{n}") for n in (221, 121)]
    await wires.change_card(121, link_down="1")
    down = await neighbour.do("ping", host="10.77.0.221")
    await wires.change_card(121, link_down="0")
    up = await neighbour.do("ping", host="10.77.0.221", patience=10)

    assert (kept, moved, down, up) == (True, [True, False], False, True)


async def test_cards_come_and_go(wires: Wires) -> None:
    await wires.guest(121)
    neighbour = await wires.guest(122)
    config = "/nodes/pve/lxc/121/config"

    await wires.api("PUT", config, net1="name=eth1,bridge=vmbr0,ip=10.77.0.50/24")
    added = await neighbour.do("ping", host="10.77.0.50")
    await wires.api("PUT", config, delete="net1")
    removed = await neighbour.do("ping", host="10.77.0.50")

    assert (added, removed) == (True, False)


async def test_nothing_of_a_stopped_guest_stays_and_it_comes_back(wires: Wires) -> None:
    await wires.guest(121, firewall="1")
    node = await wires.at_node()
    status = "/nodes/pve/lxc/121/status"

    running = await links_of(wires, "pve", "121i0")
    await wires.client.run("POST", f"{status}/stop")
    await wires.poll()
    stopped = await links_of(wires, "pve", "121i0")
    await wires.client.run("POST", f"{status}/start")

    assert (running, stopped) == (4, 0)
    assert await node.do("ping", host="10.77.0.121", patience=10)
    assert await links_of(wires, "pve", "121i0") == 4


async def test_a_guest_that_restarts_itself_is_joined_again(wires: Wires) -> None:
    await wires.guest(121, firewall="1")
    node = await wires.at_node()
    before = wires.runtime.process_of(121)

    await wires.runtime.exec(121, ["kill", "-TERM", "1"])
    await wires.until(lambda: wires.runtime.process_of(121) not in (None, before))
    await wires.poll()

    assert await node.do("ping", host="10.77.0.121", patience=10)


async def virtual_network(wires: Wires, *, isolated: int) -> None:
    """Have `rent0` on all nodes."""
    subnet = {"subnet": "10.88.0.0/24", "type": "subnet", "gateway": "10.88.0.1"}
    leases = {"dhcp-range": "start-address=10.88.0.50,end-address=10.88.0.60"}
    zone = {"zone": "rent", "type": "simple", "dhcp": "dnsmasq", "ipam": "pve"}
    vnet = {"vnet": "rent0", "zone": "rent", "isolate-ports": isolated}
    await wires.api("POST", "/cluster/sdn/zones", **zone)
    await wires.api("POST", "/cluster/sdn/vnets", **vnet)
    await wires.api("POST", "/cluster/sdn/vnets/rent0/subnets", **subnet, **leases)
    await wires.client.run("PUT", "/cluster/sdn")


@pytest.mark.parametrize("isolated", [0, 1])
async def test_a_virtual_network_has_its_gateway_and_may_keep_guests_apart(
    wires: Wires, isolated: int
) -> None:
    await wires.outside()
    await virtual_network(wires, isolated=isolated)
    guest = await wires.guest(121, ip="dhcp", bridge="rent0", firewall="1")
    await wires.guest(122, ip="dhcp", bridge="rent0")

    reached = [await guest.do("ping", host=host) for host in ("10.88.0.1", OUTSIDE, "10.88.0.51")]

    assert reached == [True, True, not isolated]


async def test_nodes_share_their_bridges_and_no_virtual_network(two_nodes: Wires) -> None:
    wires = two_nodes
    await wires.outside()
    await virtual_network(wires, isolated=0)
    here = await wires.guest(121, firewall="1")
    await wires.guest(122, node="pve2", firewall="1")
    within = await wires.guest(123, node="pve2", ip="dhcp", bridge="rent0", firewall="1")
    await wires.guest(124, ip="dhcp", bridge="rent0")

    shared = [await here.do("ping", host=host) for host in ("10.77.0.122", "10.77.0.2", GATEWAY)]
    virtual = [await within.do("ping", host=host) for host in ("10.88.0.1", "10.88.0.51")]
    out = [await guest.do("tcp", host=OUTSIDE, port=80) for guest in (here, within)]

    assert shared == [True, True, True]
    assert virtual == [True, False]
    assert out == ["open", "open"]


async def test_a_guest_takes_its_cables_to_another_node(two_nodes: Wires) -> None:
    wires = two_nodes
    await wires.guest(121, firewall="1")
    neighbour = await wires.guest(122)
    before = [await links_of(wires, node, "121i0") for node in ("pve", "pve2")]

    await wires.client.run("POST", "/nodes/pve/lxc/121/status/stop")
    await wires.client.run("POST", "/nodes/pve/lxc/121/migrate", target="pve2")
    await wires.client.run("POST", "/nodes/pve2/lxc/121/status/start")

    assert await neighbour.do("ping", host="10.77.0.121", patience=10)
    assert before == [4, 0]
    assert [await links_of(wires, node, "121i0") for node in ("pve", "pve2")] == [0, 4]


async def test_a_card_that_no_kernel_takes_fails_the_start(wires: Wires) -> None:
    await wires.client.create(121, net0="name=a-name-that-is-long,bridge=vmbr0,ip=10.77.0.9/24")

    task = await wires.client.run("POST", "/nodes/pve/lxc/121/status/start")

    assert task.exit_status != "OK"
    status = await wires.client.call("GET", "/nodes/pve/lxc/121/status/current")
    assert status.data["status"] == "stopped"


async def test_guests_on_other_bridges_do_not_meet(wires: Wires) -> None:
    await wires.outside()
    guest = await wires.guest(121)
    await wires.client.create(122, net0=CARD.replace("vmbr0", "vmbr7") + ",ip=10.77.0.122/24")
    failed = await wires.client.run("POST", "/nodes/pve/lxc/122/status/start")

    assert failed.exit_status == "bridge 'vmbr7' does not exist"
    assert await guest.do("ping", host=GATEWAY)
    assert await guest.do("tcp", host=OUTSIDE, port=80) == "open"


async def test_a_node_on_the_command_line_has_a_network(packets: None) -> None:
    arguments = ("pve", "--port", "0", "--latency", "0", "--shells", "--network")
    async with started(*arguments) as (process, first):
        settings = await said(process, 4)
        nodes = f"{first.removeprefix('PVE_HOST=')}/api2/json/nodes/pve"
        token = f"PVEAPIToken={settings['PVE_TOKEN_ID']}={settings['PVE_TOKEN_SECRET']}"
        template = "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst"
        guest = {"vmid": "100", "rootfs": "local-lvm:4", "ostemplate": template, "start": "1"}
        guest["net0"] = f"{CARD},ip=10.99.0.7/24"
        shown = None
        async with aiohttp.ClientSession(headers={"Authorization": token}) as session:
            await session.post(f"{nodes}/lxc", data=guest)
            while not shown:
                answer = await session.get(f"{nodes}/lxc/100/interfaces")
                shown = (await answer.json())["data"] if answer.status == 200 else None
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert [one.get("inet") for one in shown] == ["127.0.0.1/8", "10.99.0.7/24"]


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(namespace.PROGRAMS, "no-such-program", "its-package")

    with pytest.raises(namespace.NoNetwork, match=r"no-such-program .* \(Debian: its-package\)"):
        namespace.require_programs()


@pytest.mark.skipif(os.getuid() != 0, reason="every other test is run by an ordinary user then")
async def test_an_ordinary_user_has_the_same(packets: None) -> None:
    with tempfile.TemporaryDirectory(prefix="pve402-wires-") as folder:
        os.chmod(folder, 0o777)  # noqa: PTH101 - another user keeps its guests there
        result = await asyncio.to_thread(run_as_nobody, _PROGRAM, folder)

    assert result.stderr == ""
    assert "1 packets received" in result.stdout


_PROGRAM = """
import asyncio, sys
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import Bridge, Card, GuestSpec
from pve402_devnet.wires.cluster import ClusterNetwork

async def main():
    runtime = NamespaceRuntime(RuntimeOptions(disks=sys.argv[1] + "/disks"))
    network = ClusterNetwork(runtime)
    await network.start(["one", "two"])
    for node, address in (("one", "10.77.0.1/24"), ("two", "10.77.0.2/24")):
        bridge = Bridge(name="vmbr0", addresses=(address,), shared=True)
        await network.build(node, [bridge])
    for vmid, node in ((121, "one"), (122, "two")):
        await runtime.start(vmid, GuestSpec(node=node, hostname="ct", template="busybox"))
        mac = f"BC:24:11:00:00:{vmid - 100}"
        card = Card(index=0, name="eth0", bridge="vmbr0", hardware_address=mac,
                    addresses=(f"10.77.0.{vmid}/24",), firewall=True)
        await network.connect(node, vmid, [card])
    ping = ["busybox", "ping", "-c1", "-W2", "10.77.0.122"]
    print(await network.node("one").run(ping, pid=runtime.process_of(121)))
    await runtime.destroy(121)
    await runtime.destroy(122)
    await runtime.close()
    await network.stop()

asyncio.run(main())
"""
