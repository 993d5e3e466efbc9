"""The typed calls read the values that Proxmox VE 9.2 was recorded to give."""

import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import pytest
from tests.support import recordings, scripted_server
from tests.support.recordings import Recording
from tests.support.scripted_server import ScriptedServer

from pve402.proxmox.access import Access
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guest_views import TerminalTicket, VncTicket
from pve402.proxmox.guests import GuestRef, Guests, GuestSpec, NetworkSpec, RunState
from pve402.proxmox.ipam import Ipam
from pve402.proxmox.nodes import Nodes
from pve402.proxmox.storage import Storages
from pve402.proxmox.tasks import Tasks
from pve402.proxmox.upid import Upid

REF = GuestRef(node="pve", vmid=101)
SPEC = GuestSpec(
    hostname="web-1",
    template="local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz",
    storage="local",
    disk_gb=1,
    memory_mb=128,
    cores=1,
    network=NetworkSpec(bridge="vmbr0"),
)
UPID = Upid.parse("UPID:pve:00001111:000957D5:6B01E906:vzcreate:132:svc@pve!test:")

LXC = r"/nodes/pve/lxc"
STARTS_TASK: dict[tuple[str, str], Callable[[Guests], Awaitable[Upid]]] = {
    ("POST", LXC): lambda guests: guests.create(REF, SPEC),
    ("POST", rf"{LXC}/\d+/status/start"): lambda guests: guests.start(REF),
    ("POST", rf"{LXC}/\d+/status/stop"): lambda guests: guests.stop(REF),
    ("POST", rf"{LXC}/\d+/status/shutdown"): lambda guests: guests.shutdown(REF),
    ("POST", rf"{LXC}/\d+/status/reboot"): lambda guests: guests.reboot(REF),
    ("DELETE", rf"{LXC}/\d+"): lambda guests: guests.delete(REF),
}


def good(method: str, pattern: str) -> list[Recording]:
    return [
        recording
        for recording in recordings.load()
        if recording.method == method
        and recording.status == 200
        and isinstance(recording.body, dict)
        and re.fullmatch(pattern, recording.path)
    ]


def of(method: str, pattern: str) -> pytest.MarkDecorator:
    found = good(method, pattern)
    assert found
    return pytest.mark.parametrize("recording", found, ids=lambda recording: recording.name)


def play(server: ScriptedServer, recording: Recording) -> Any:
    server.script = [scripted_server.answer(200, "OK", recording.raw_body)]
    return recording.data


@pytest.mark.parametrize(
    ("recording", "act"),
    [
        pytest.param(recording, act, id=recording.name)
        for (method, pattern), act in STARTS_TASK.items()
        for recording in good(method, pattern)
    ],
)
async def test_a_call_that_starts_a_task_gives_its_upid(
    recording: Recording,
    act: Callable[[Guests], Awaitable[Upid]],
    server: ScriptedServer,
    client: ProxmoxClient,
) -> None:
    data = play(server, recording)

    upid = await act(Guests(client))

    assert upid.text == data
    assert upid.node == "pve"


@of("GET", rf"{LXC}/\d+/status/current")
async def test_status(recording: Recording, server: ScriptedServer, client: ProxmoxClient) -> None:
    data = play(server, recording)

    status = await Guests(client).status(REF)

    assert status.state.value == data["status"]
    assert (status.name, status.lock) == (data["name"], data.get("lock", ""))
    assert (status.memory_used, status.memory_total) == (data["mem"], data["maxmem"])
    assert (status.disk_used, status.disk_total) == (data["disk"], data["maxdisk"])
    assert status.uptime_seconds == data["uptime"]
    assert status.cpu_cores == data["cpus"]


@of("GET", rf"{LXC}/\d+/config")
async def test_config(recording: Recording, server: ScriptedServer, client: ProxmoxClient) -> None:
    data = play(server, recording)

    config = await Guests(client).config(REF)

    assert config.digest == data["digest"]
    assert config.hostname == data.get("hostname", "")
    assert config.description + "\n" * ("description" in data) == data.get("description", "")
    assert ";".join(config.tags) == data.get("tags", "").strip()
    assert config.memory_mb == data.get("memory")
    assert set(config.values) == set(data)


@of("GET", rf"{LXC}/\d+/interfaces")
async def test_interfaces(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording) or []

    cards = await Guests(client).interfaces(REF)

    assert [card.name for card in cards] == [row["name"] for row in data]
    assert [str(address) for card in cards for address in card.addresses] == [
        f"{entry['ip-address']}/{entry['prefix']}" for row in data for entry in row["ip-addresses"]
    ]


@of("GET", "/cluster/resources")
async def test_resources(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    found = await Nodes(client).cluster_resources()

    by_type = {kind: [row for row in data if row["type"] == kind] for kind in ("lxc", "node")}
    assert [guest.vmid for guest in found.guests] == [row["vmid"] for row in by_type["lxc"]]
    assert [guest.memory_total for guest in found.guests] == [
        row.get("maxmem") for row in by_type["lxc"]
    ]
    assert [node.cpu_cores for node in found.nodes] == [
        row.get("maxcpu") for row in by_type["node"]
    ]
    assert len(found.guests) + len(found.nodes) + len(found.storages) == len(data)


@of("GET", "/nodes")
async def test_nodes(recording: Recording, server: ScriptedServer, client: ProxmoxClient) -> None:
    data = play(server, recording)

    nodes = await Nodes(client).list()

    assert [node.node for node in nodes] == [row["node"] for row in data]
    assert [node.memory_total for node in nodes] == [row.get("maxmem") for row in data]
    assert all(node.online for node in nodes)


@of("GET", "/nodes/pve/status")
async def test_node_status_reads_the_nested_figures(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    status = await Nodes(client).status("pve")

    assert status.memory.total == data["memory"]["total"]
    assert status.root_disk.used == data["rootfs"]["used"]
    assert status.cpu_cores == data["cpuinfo"]["cpus"]
    assert list(map(str, status.load_average)) == data["loadavg"]


@of("GET", "/nodes/pve/storage/local/status")
async def test_storage_status(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    status = await Storages(client).status("pve", "local")

    assert (status.used, status.total, status.available) == (
        data["used"], data["total"], data["avail"],
    )  # fmt: skip
    assert status.active
    assert "rootdir" in status.content


@of("GET", "/nodes/pve/storage")
async def test_storages(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    found = await Storages(client).list("pve", content="rootdir")

    assert [storage.storage for storage in found] == [row["storage"] for row in data]
    assert server.requests[0].query == {"content": "rootdir"}


@of("GET", "/nodes/pve/storage/local/content")
async def test_templates(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    found = await Storages(client).templates("pve", "local")

    expected = [(row["volid"], row["size"]) for row in data if row["content"] == "vztmpl"]
    assert [(template.volid, template.size_bytes) for template in found] == expected


@of("GET", "/cluster/nextid")
async def test_next_vmid(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    vmid = await Guests(client).next_vmid()

    assert vmid == int(data)


@of("GET", r"/nodes/pve/tasks/[^/]+/status")
async def test_task_status(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    end = await Tasks(client).status(UPID)

    assert (end is None) == (data["status"] == "running")
    assert end is None or end.exitstatus == data["exitstatus"]
    assert end is None or end.ok == bool(re.match("OK|WARNINGS", data["exitstatus"]))


@of("GET", r"/nodes/pve/tasks/(?!.*6B000000)[^/]+/log")
async def test_task_log(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    log = await Tasks(client).log(UPID)

    assert list(log.lines) == [row["t"] for row in data]
    assert log.total == recording.body["total"]


@of("GET", "/nodes/pve/tasks")
async def test_task_list(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    running = await Tasks(client).list_active("pve", 101)

    expected = [row["upid"] for row in data if row.get("status", "RUNNING") == "RUNNING"]
    assert [upid.text for upid in running] == expected


@of("POST", rf"{LXC}/\d+/termproxy")
async def test_terminal_ticket(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    ticket = await Guests(client).open_terminal(REF)

    assert ticket == TerminalTicket(
        user=data["user"],
        ticket=data["ticket"],
        port=int(data["port"]),
        upid=Upid.parse(data["upid"]),
    )
    assert data["ticket"] not in repr(ticket)


@of("POST", rf"{LXC}/\d+/vncproxy")
async def test_vnc_ticket(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    ticket = await Guests(client).open_vnc(REF)

    assert isinstance(ticket, VncTicket)
    assert (ticket.user, ticket.port) == (data["user"], int(data["port"]))
    assert server.requests[0].form == {"websocket": "1"}
    assert data["ticket"] not in repr(ticket)


@of("GET", "/access/permissions")
async def test_permissions(
    recording: Recording, server: ScriptedServer, client: ProxmoxClient
) -> None:
    data = play(server, recording)

    permissions = await Access(client).permissions()

    assert {path: set(names) for path, names in permissions.items()} == {
        path: set(names) for path, names in data.items()
    }


@of("GET", "/version")
async def test_version(recording: Recording, server: ScriptedServer, client: ProxmoxClient) -> None:
    data = play(server, recording)

    version = await Nodes(client).version()

    assert (version.release, version.version) == (data["release"], data["version"])


def test_a_status_word_of_the_future_is_unknown() -> None:
    assert RunState.read("hibernating") is RunState.UNKNOWN


@pytest.mark.parametrize(
    ("status", "subnet", "free"),
    [
        ("sdn-ipam-status", "10.88.0.0/24", 3),
        ("sdn-ipam-status-full", "10.88.0.0/24", 0),
        ("sdn-ipam-status-full", "10.99.0.0/24", None),
    ],
)
async def test_what_is_left_of_an_sdn_range(
    status: str, subnet: str, free: int | None, server: ScriptedServer, client: ProxmoxClient
) -> None:
    recorded = {one.name: one for one in recordings.load("recordings2.jsonl")}
    answers = [recorded["sdn-subnets"].raw_body, recorded[status].raw_body]
    server.script = [scripted_server.answer(200, "OK", body) for body in answers]

    assert await Ipam(client).count_free("rent0", ip_network(subnet)) == free
