"""The simulator beside fakepve, which others wrote: the same calls to both, and where they differ.

Where they do, what was recorded on Proxmox VE decides; devnet/docs/beside-proxmox.md lists them.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support import project, recordings, scenarios
from yarl import URL

from pve402_devnet.pve import options, simulator

pytestmark = pytest.mark.fakepve

PAGE = project.ROOT / "devnet/docs/beside-proxmox.md"
NODE = "pve1"
LXC = f"/nodes/{NODE}/lxc"
CT, GONE = f"{LXC}/300", f"{LXC}/999"
UPID = f"UPID%3A{NODE}%3A00001492%3A00097C11%3A6B01E963%3Avzcreate%3A1%3Aroot%40pam%3A"
NO_TASK = f"/nodes/{NODE}/tasks/{UPID}"
NEW = {
    "vmid": "300",
    "ostemplate": "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz",
    "rootfs": "local-lvm:8",
    "hostname": "web",
    "memory": "512",
    "net0": "name=eth0,bridge=vmbr0,ip=dhcp",
    "unprivileged": "1",
}
NO_TEMPLATE = "local:vztmpl/no.tar.zst"
BAD_BRIDGE = "name=eth0,bridge=vmbr99,ip=dhcp"
USER = {"userid": "x@pve", "password": "12345678"}
ROLE = {"roleid": "Console", "privs": "VM.Console"}
ACL = {"path": "/vms/300", "users": "x@pve", "propagate": "0"}

CALLS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("version", "GET", "/version", {}),
    ("next vmid", "GET", "/cluster/nextid", {}),
    ("create", "POST", LXC, NEW),
    ("create again", "POST", LXC, NEW),
    ("next vmid, taken", "GET", "/cluster/nextid", {"vmid": "300"}),
    ("next vmid, no number", "GET", "/cluster/nextid", {"vmid": "x"}),
    ("create, bad host name", "POST", LXC, {**NEW, "vmid": "301", "hostname": "a_b"}),
    ("create, too little memory", "POST", LXC, {**NEW, "vmid": "301", "memory": "8"}),
    ("create, missing template", "POST", LXC, {**NEW, "vmid": "302", "ostemplate": NO_TEMPLATE}),
    ("create, missing storage", "POST", LXC, {**NEW, "vmid": "303", "rootfs": "nope:8"}),
    ("create, missing bridge", "POST", LXC, {**NEW, "vmid": "304", "net0": BAD_BRIDGE}),
    ("start, missing bridge", "POST", f"{LXC}/304/status/start", {}),
    ("change, missing bridge", "PUT", f"{LXC}/304/config", {"net0": BAD_BRIDGE}),
    ("create, short password", "POST", LXC, {**NEW, "vmid": "305", "password": "abc"}),
    ("create, bad SSH key", "POST", LXC, {**NEW, "vmid": "306", "ssh-public-keys": "rubbish"}),
    ("create, unknown parameter", "POST", LXC, {**NEW, "vmid": "307", "colour": "1"}),
    ("create, boolean `true`", "POST", LXC, {**NEW, "vmid": "308", "unprivileged": "true"}),
    ("unknown node", "GET", "/nodes/nope/lxc", {}),
    ("list", "GET", LXC, {}),
    ("configuration", "GET", f"{CT}/config", {}),
    ("configuration, missing", "GET", f"{GONE}/config", {}),
    ("status", "GET", f"{CT}/status/current", {}),
    ("status, missing", "GET", f"{GONE}/status/current", {}),
    ("start", "POST", f"{CT}/status/start", {}),
    ("start again", "POST", f"{CT}/status/start", {}),
    ("start, missing", "POST", f"{GONE}/status/start", {}),
    ("status, running", "GET", f"{CT}/status/current", {}),
    ("interfaces", "GET", f"{CT}/interfaces", {}),
    ("interfaces, missing", "GET", f"{GONE}/interfaces", {}),
    ("terminal", "POST", f"{CT}/termproxy", {}),
    ("terminal, missing", "POST", f"{GONE}/termproxy", {}),
    ("picture", "POST", f"{CT}/vncproxy", {"websocket": "1"}),
    ("websocket, bad port", "GET", f"{CT}/vncwebsocket", {"port": "80", "vncticket": "x"}),
    ("websocket, bad ticket", "GET", f"{CT}/vncwebsocket", {"port": "5900", "vncticket": "x"}),
    ("exec", "POST", f"{CT}/exec", {"command": "id"}),
    ("change", "PUT", f"{CT}/config", {"description": "x", "tags": "b;A;b"}),
    ("change, empty tags", "PUT", f"{CT}/config", {"tags": ""}),
    ("change, other digest", "PUT", f"{CT}/config", {"description": "y", "digest": "0" * 40}),
    ("change, missing", "PUT", f"{GONE}/config", {"description": "y"}),
    ("change, nothing", "PUT", f"{CT}/config", {}),
    ("delete, running", "DELETE", CT, {}),
    ("resize", "PUT", f"{CT}/resize", {"disk": "rootfs", "size": "+1G"}),
    ("shut down", "POST", f"{CT}/status/shutdown", {"timeout": "5"}),
    ("shut down, stopped", "POST", f"{CT}/status/shutdown", {}),
    ("stop, stopped", "POST", f"{CT}/status/stop", {}),
    ("reboot, stopped", "POST", f"{CT}/status/reboot", {}),
    ("interfaces, stopped", "GET", f"{CT}/interfaces", {}),
    ("nodes", "GET", "/nodes", {}),
    ("storages", "GET", f"/nodes/{NODE}/storage", {}),
    ("storage", "GET", f"/nodes/{NODE}/storage/local-lvm/status", {}),
    ("storage, missing", "GET", f"/nodes/{NODE}/storage/nope/status", {}),
    ("tasks", "GET", f"/nodes/{NODE}/tasks", {"vmid": "300", "limit": "5"}),
    ("task, missing", "GET", f"{NO_TASK}/status", {}),
    ("log of a task, missing", "GET", f"{NO_TASK}/log", {}),
    ("roles", "GET", "/access/roles", {}),
    ("create user", "POST", "/access/users", USER),
    ("create user again", "POST", "/access/users", USER),
    ("create role", "POST", "/access/roles", ROLE),
    ("create role again", "POST", "/access/roles", ROLE),
    ("grant", "PUT", "/access/acl", {**ACL, "roles": "Console"}),
    ("grant, missing role", "PUT", "/access/acl", {**ACL, "roles": "Nobody"}),
    ("delete user", "DELETE", "/access/users/x%40pve", {}),
    ("delete user again", "DELETE", "/access/users/x%40pve", {}),
    ("wrong password", "POST", "/access/ticket", {"username": "root@pam", "password": "no"}),
    ("protect", "PUT", f"{CT}/config", {"protection": "1"}),
    ("delete, protected", "DELETE", CT, {}),
    ("unprotect", "PUT", f"{CT}/config", {"protection": "0"}),
    ("delete", "DELETE", CT, {"purge": "1", "destroy-unreferenced-disks": "1"}),
    ("delete, missing", "DELETE", CT, {}),
    ("unknown path", "GET", "/nosuch", {}),
)  # fmt: skip

SOURCE = None
DIFFERENT: dict[str, str | None] = {
    "create, missing template": "lxc-create-missing-template",
    "start, missing bridge": "start-bad-bridge",
    "change, missing bridge": "config-put-net0-bad-bridge",
    "create, bad SSH key": SOURCE,
    "create, boolean `true`": "lxc-create-boolean-true",
    "interfaces, missing": "interfaces-missing",
    "terminal": "termproxy-running",
    "terminal, missing": "termproxy-missing",
    "picture": "vncproxy-stopped",
    "websocket, bad ticket": "vncwebsocket-bad-ticket",
    "exec": "exec-not-implemented",
    "change, empty tags": "config-put-tags-empty",
    "task, missing": "task-status-other-node",
    "log of a task, missing": "task-log-unknown",
    "create user again": SOURCE,
    "create role again": SOURCE,
    "grant, missing role": SOURCE,
    "unknown path": "http-unknown-path",
}
"""Where the two differ, and the recording that says which is right; in all, it is the simulator."""


@pytest.fixture
async def ours() -> AsyncIterator[tuple[str, str]]:
    """The simulator: its address and a token of root's."""
    chosen = options.SimulatorOptions(
        port=0,
        nodes=(options.NodeOptions(name=NODE, address="10.99.0.1"),),
        storages=(
            options.StorageOptions(),
            options.StorageOptions(name="local-lvm", content=("images", "rootdir")),
        ),
        latency_scale=0,
        auth_failure_seconds=0,
    )
    async with simulator.SimulatedProxmox(chosen) as running:
        yield running.base_url, f"{running.token_id}={running.token_secret}"


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """fakepve: its address and a token of root's."""
    with scenarios.running(tmp_path, seconds_per_second=0) as running:
        running("set", "apitokens", {"root@pam!t": "0b5a3b3e"})
        yield running.url, "root@pam!t=0b5a3b3e"


async def test_the_two_differ_where_it_is_known(
    ours: tuple[str, str], theirs: tuple[str, str]
) -> None:
    async with aiohttp.ClientSession() as session:
        here = [await _answer(session, ours, *call) for call in CALLS]
        there = [await _answer(session, theirs, *call) for call in CALLS]

    names = [name for name, *_ in CALLS]
    different = {n: (a, b) for n, a, b in zip(names, here, there, strict=True) if a != b}
    unknown = {name: both for name, both in different.items() if name not in DIFFERENT}
    assert unknown == {}
    assert different.keys() == DIFFERENT.keys()


def test_every_difference_is_decided_and_documented() -> None:
    recorded = {found.name for found in recordings.load()}
    page = PAGE.read_text(encoding="utf-8")

    assert {name for name in DIFFERENT.values() if name} - recorded == set()
    assert [name for name in DIFFERENT if f"| {name} |" not in page] == []


async def _answer(
    session: aiohttp.ClientSession,
    where: tuple[str, str],
    _name: str,
    method: str,
    path: str,
    parameters: dict[str, str],
) -> object:
    """Status, reason, errors, what the data looks like, and how a task that it began ended."""
    base, token = where
    url = URL(f"{base}/api2/json{path}", encoded=True)
    headers = {} if path == "/access/ticket" else {"Authorization": f"PVEAPIToken={token}"}
    form: dict[str, Any] = {"data": parameters}
    if method in {"GET", "DELETE"}:
        form, url = {}, url.update_query(parameters) if parameters else url
    async with session.request(method, url, headers=headers, ssl=False, **form) as response:
        text = await response.text()
    body = json.loads(text) if text.startswith("{") else {}
    data = body.get("data")
    end = await _end(session, base, headers, data) if _is_upid(data) else None
    reason = re.sub(r"(hostname lookup '\w+' failed).*", r"\1", response.reason or "")
    return response.status, reason, body.get("errors"), _look(data), end


async def _end(
    session: aiohttp.ClientSession, base: str, headers: dict[str, str], upid: str
) -> str:
    path = f"/api2/json/nodes/{NODE}/tasks/{upid.replace(':', '%3A').replace('@', '%40')}/status"
    url = URL(base + path.replace("!", "%21"), encoded=True)
    while True:
        async with session.get(url, headers=headers, ssl=False) as response:
            task = (await response.json())["data"]
        if task["status"] == "stopped":
            return str(task["exitstatus"])


def _look(data: object) -> object:
    """The kind of a value; of an object the names and kinds of what everybody reads of it."""
    if _is_upid(data):
        return "UPID"
    if isinstance(data, dict):
        read = {"ticket", "port", "user", "upid", "password", "vmid", "status", "name", "hostname"}
        return {name: _look(value) for name, value in data.items() if name in read}
    return type(data).__name__


def _is_upid(data: object) -> bool:
    return isinstance(data, str) and data.startswith("UPID:")
