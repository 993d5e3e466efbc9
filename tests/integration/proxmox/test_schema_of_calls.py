"""Every call that the client has a name for, held to the official schema of the API.

The list is the code's own: a method without a line here fails, and so does a call made elsewhere.
"""

import contextlib
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.support import project, pve_schema, scripted_server
from tests.support.scripted_server import ScriptedServer

from pve402.domain.oci import Reference
from pve402.proxmox import administration, errors
from pve402.proxmox.access import Access
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.firewall import ClusterFirewall, GuestFirewalls, Rule, Ruleset
from pve402.proxmox.guest_filters import GuestFilters
from pve402.proxmox.guests import (
    GuestRef,
    Guests,
    GuestSpec,
    NetworkSpec,
    TerminalTicket,
)
from pve402.proxmox.ipam import Ipam
from pve402.proxmox.nodes import Nodes
from pve402.proxmox.sdn import Sdn
from pve402.proxmox.snapshots import GuestSnapshots
from pve402.proxmox.storage import Storages
from pve402.proxmox.tasks import Tasks
from pve402.proxmox.upid import Upid

pytestmark = pytest.mark.fakepve  # whose environment has the schema

CT = GuestRef(node="pve", vmid=10001)
UPID = Upid.parse("UPID:pve:00001492:00097C11:6B01E963:vzcreate:10001:svc@pve!test:")
TICKET = TerminalTicket(
    user="svc@pve!test", ticket="PVEVNC:6B01E963::a+b/c==", port=5902, upid=UPID
)
SPEC = GuestSpec(
    hostname="web-1.example.org",
    template="local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst",
    storage="local-lvm",
    disk_gb=8,
    memory_mb=512,
    swap_mb=64,
    cores=2,
    cpu_limit=Decimal("0.5"),
    network=NetworkSpec(
        bridge="vmbr0",
        ipv4="10.0.0.5/24",
        gateway4="10.0.0.1",
        vlan_tag=7,
        rate_megabytes=Decimal("12.5"),
    ),
    password="hunter22",
    ssh_public_keys=("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@example",),
    tags=("pve402-a", "lease-x"),
    description="pve402:v1:x",
    nameserver="10.0.0.1",
    search_domain="example.org",
    nesting=True,
    pool="rented",
)
LEAST = replace(
    SPEC,
    cpu_limit=None,
    network=NetworkSpec(bridge="vmbr0"),
    password=None,
    ssh_public_keys=(),
    nesting=False,
    pool=None,
)
RULES = Ruleset(
    options={"enable": "1", "policy_in": "DROP", "policy_out": "ACCEPT", "ipfilter": "1"}
    | {"macfilter": "1", "dhcp": "0", "ndp": "1", "radv": "0"},
    rules=(
        Rule(
            direction="out",
            action="DROP",
            dest="10.0.0.0/8,192.168.0.0/16",
            protocol="tcp",
            source_ports="1024:65535",
            ports="25,465,587",
            comment="no mail",
        ),
        Rule(direction="in", action="ACCEPT", source="fd00::/8", macro="DNS"),
    ),
)
OWN = {"ipfilter-net0": frozenset({"10.0.0.5"})}
CHANGES = {"hostname": "web-2", "description": "x"}
ENDED = scripted_server.data('{"status":"stopped","exitstatus":"OK"}')
AN_IMAGE = Reference.parse("docker.io/library/python:3.13-slim")
NOTHING = scripted_server.data("null")
NONE_LISTED = scripted_server.data("[]")
A_SET = scripted_server.data('[{"name":"ipfilter-net0"}]')
AN_ENTRY = scripted_server.data('[{"cidr":"10.0.0.1"}]')
A_RULE = scripted_server.data(
    '[{"pos":0,"type":"in","action":"ACCEPT","enable":1,"digest":"' + "0" * 40 + '"}]'
)
TWO_GUESTS = scripted_server.data(
    '[{"type":"lxc","vmid":101,"node":"pve"},{"type":"qemu","vmid":102,"node":"pve"}]'
)
A_CARD = scripted_server.data('{"net0":"name=eth0,bridge=vmbr0,firewall=1"}')
NO_OPTIONS = scripted_server.data("{}")
A_NODE_RULE = Rule(
    direction="in",
    action="ACCEPT",
    interface="vmbr0",
    source="10.99.0.50,192.0.2.0/24",
    protocol="tcp",
    ports="22,8006",
    comment="pve402: administration 1a2b3c4d",
)
LINES = scripted_server.data('[{"n":1,"t":"a"}]')

Ask = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way of calling a method, and what the server answers; by default a failure."""

    method: str
    ask: Ask
    script: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        return self.method


CASES = [
    Case(method="guests.create", ask=lambda c: c.guests.create(CT, SPEC)),
    Case(method="guests.create", ask=lambda c: c.guests.create(CT, LEAST)),
    Case(method="guests.start", ask=lambda c: c.guests.start(CT)),
    Case(method="guests.stop", ask=lambda c: c.guests.stop(CT)),
    Case(
        method="guests.shutdown",
        ask=lambda c: c.guests.shutdown(CT, limit_seconds=5, force_stop=True),
    ),
    Case(method="guests.reboot", ask=lambda c: c.guests.reboot(CT, limit_seconds=5)),
    Case(method="guests.delete", ask=lambda c: c.guests.delete(CT, force=True)),
    Case(method="guests.status", ask=lambda c: c.guests.status(CT)),
    Case(method="guests.config", ask=lambda c: c.guests.config(CT)),
    Case(
        method="guests.update_config",
        ask=lambda c: c.guests.update_config(CT, CHANGES, delete=["tags"], digest="0" * 40),
    ),
    Case(
        method="guests.resize_disk",
        ask=lambda c: c.guests.resize_disk(CT, 16, digest="0" * 40),
    ),
    Case(method="snapshots.are_possible", ask=lambda c: c.snapshots.are_possible(CT)),
    Case(method="snapshots.list", ask=lambda c: c.snapshots.list(CT)),
    Case(method="snapshots.take", ask=lambda c: c.snapshots.take(CT, "pve402-0a", "Text.")),
    Case(method="snapshots.delete", ask=lambda c: c.snapshots.delete(CT, "pve402-0a")),
    Case(method="snapshots.roll_back", ask=lambda c: c.snapshots.roll_back(CT, "pve402-0a")),
    Case(method="snapshots.config_of", ask=lambda c: c.snapshots.config_of(CT, "pve402-0a")),
    Case(method="guests.past_figures", ask=lambda c: c.guests.past_figures(CT, "month")),
    Case(method="guests.interfaces", ask=lambda c: c.guests.interfaces(CT)),
    Case(method="guests.list_all", ask=lambda c: c.guests.list_all()),
    Case(method="guests.next_vmid", ask=lambda c: c.guests.next_vmid(10001)),
    Case(method="guests.next_vmid", ask=lambda c: c.guests.next_vmid()),
    Case(method="guests.execute", ask=lambda c: c.guests.execute(CT, "id", "-u")),
    Case(
        method="guests.clone",
        ask=lambda c: c.guests.clone(CT, 10002, hostname="web", description="x", pool="rented"),
    ),
    Case(
        method="guests.clone",
        ask=lambda c: c.guests.clone(
            CT,
            10002,
            hostname="web",
            description="x",
            pool=None,
            snapshot="pve402-0a",
            is_linked=False,
        ),
    ),
    Case(method="guests.make_template", ask=lambda c: c.guests.make_template(CT)),
    Case(method="guests.can_link", ask=lambda c: c.guests.can_link(CT)),
    Case(method="guests.can_copy", ask=lambda c: c.guests.can_copy(CT, snapshot="pve402-0a")),
    Case(method="guests.open_terminal", ask=lambda c: c.guests.open_terminal(CT)),
    Case(method="guests.open_vnc", ask=lambda c: c.guests.open_vnc(CT)),
    Case(method="guests.connect", ask=lambda c: c.guests.connect(CT, TICKET)),
    Case(method="tasks.status", ask=lambda c: c.tasks.status(UPID)),
    Case(method="tasks.log", ask=lambda c: c.tasks.log(UPID, start=1, limit=5)),
    Case(method="tasks.read_log", ask=lambda c: c.tasks.read_log(UPID), script=(LINES,)),
    Case(method="tasks.tail", ask=lambda c: c.tasks.tail(UPID), script=(LINES,)),
    Case(method="tasks.stop", ask=lambda c: c.tasks.stop(UPID)),
    Case(method="tasks.list_past", ask=lambda c: c.tasks.list_past("pve", 10001)),
    Case(method="tasks.list_active", ask=lambda c: c.tasks.list_active("pve", 10001)),
    Case(
        method="tasks.list_active_of",
        ask=lambda c: c.tasks.list_active_of("pve", "ociregistrypull"),
    ),
    Case(
        method="tasks.wait_until_finished",
        ask=lambda c: c.tasks.wait_until_finished(UPID, limit_seconds=5),
        script=(ENDED,),
    ),
    Case(method="nodes.version", ask=lambda c: c.nodes.version()),
    Case(method="nodes.list", ask=lambda c: c.nodes.list()),
    Case(method="nodes.cluster_resources", ask=lambda c: c.nodes.cluster_resources()),
    Case(method="nodes.status", ask=lambda c: c.nodes.status("pve")),
    Case(method="nodes.bridges", ask=lambda c: c.nodes.bridges("pve")),
    Case(method="nodes.subnets", ask=lambda c: c.nodes.subnets("pve")),
    Case(method="nodes.check_pool", ask=lambda c: c.nodes.check_pool("rented")),
    Case(
        method="guest_firewalls.stands",
        ask=lambda c: c.guest_firewalls.stands(CT, Ruleset()),
        script=(NONE_LISTED, scripted_server.data("{}")),
    ),
    Case(
        method="guest_firewalls.write",
        ask=lambda c: c.guest_firewalls.write(CT, RULES),
        script=(
            *(NONE_LISTED, NONE_LISTED, NOTHING, NOTHING),
            *(A_SET, AN_ENTRY, NOTHING, NOTHING),
            *(scripted_server.data('{"log_level_in":"info"}'), NOTHING),
        ),
    ),
    Case(
        method="guest_firewalls.write",
        ask=lambda c: c.guest_firewalls.write(CT, replace(RULES, sets=OWN)),
        script=(
            *(NONE_LISTED, NONE_LISTED, NOTHING, NOTHING),
            *(NONE_LISTED, NOTHING, NOTHING),
            *(scripted_server.data("{}"), NOTHING),
        ),
    ),
    Case(
        method="guest_firewalls.clear",
        ask=lambda c: c.guest_firewalls.clear(CT),
        script=(
            *(A_RULE, A_RULE, A_RULE, NOTHING, NONE_LISTED),
            *(scripted_server.data('{"enable":1}'), NOTHING),
        ),
    ),
    Case(
        method="ipam.addresses_of",
        ask=lambda c: c.ipam.addresses_of("rent0", 10001, "BC:24:11:00:00:01"),
    ),
    Case(
        method="ipam.count_free",
        ask=lambda c: c.ipam.count_free("rent0", ip_network("10.0.0.0/24")),
        script=(
            scripted_server.data(
                '[{"cidr":"10.0.0.0/24","dhcp-range":'
                '[{"start-address":"10.0.0.10","end-address":"10.0.0.20"}]}]'
            ),
        ),
    ),
    Case(method="cluster_firewall.problem", ask=lambda c: c.cluster_firewall.problem()),
    Case(
        method="cluster_firewall.uses_nftables",
        ask=lambda c: c.cluster_firewall.uses_nftables("pve"),
    ),
    Case(
        method="cluster_firewall.version",
        ask=lambda c: c.cluster_firewall.version("pve", "pve-firewall"),
    ),
    Case(method="cluster_firewall.addresses", ask=lambda c: c.cluster_firewall.addresses("pve")),
    Case(
        method="cluster_firewall.cluster_addresses",
        ask=lambda c: c.cluster_firewall.cluster_addresses(),
    ),
    Case(method="cluster_firewall.is_on", ask=lambda c: c.cluster_firewall.is_on()),
    Case(method="cluster_firewall.node_rules", ask=lambda c: c.cluster_firewall.node_rules("pve")),
    Case(method="cluster_firewall.local_network", ask=lambda c: c.cluster_firewall.local_network()),
    Case(
        method="guest_filters.filtered",
        ask=lambda c: c.guest_filters.filtered(),
        script=(TWO_GUESTS, A_CARD, NO_OPTIONS, A_CARD),
    ),
    Case(method="sdn.zones", ask=lambda c: c.sdn.zones()),
    Case(method="sdn.vnets", ask=lambda c: c.sdn.vnets()),
    Case(method="sdn.subnets", ask=lambda c: c.sdn.subnets("tenants0")),
    Case(method="sdn.subnets", ask=lambda c: c.sdn.subnets("tenants0", applied=True)),
    Case(method="sdn.waiting", ask=lambda c: c.sdn.waiting(), script=(NONE_LISTED,)),
    Case(method="sdn.zone_state", ask=lambda c: c.sdn.zone_state("pve", "tenants")),
    Case(method="storages.list", ask=lambda c: c.storages.list("pve", content="rootdir")),
    Case(method="storages.status", ask=lambda c: c.storages.status("pve", "local-lvm")),
    Case(method="storages.templates", ask=lambda c: c.storages.templates("pve", "local")),
    Case(method="storages.pull", ask=lambda c: c.storages.pull("pve", "local", AN_IMAGE)),
    Case(method="storages.remove", ask=lambda c: c.storages.remove("pve", "local:vztmpl/a.tar")),
    Case(method="access.permissions", ask=lambda c: c.access.permissions()),
    Case(method="access.permissions_on", ask=lambda c: c.access.permissions_on("/vms/10001")),
    Case(
        method="access.missing_privileges",
        ask=lambda c: c.access.missing_privileges(SimpleNamespace(privileges=lambda: {"/": {"x"}})),
    ),
    Case(method="access.lacking", ask=lambda c: c.access.lacking({"/access": frozenset({"x"})})),
    Case(method="access.login", ask=lambda c: c.access.login("lease-x@pve", "a long password")),
    Case(method="access.role_privileges", ask=lambda c: c.access.role_privileges("Console")),
    Case(method="access.users", ask=lambda c: c.access.users()),
    Case(
        method="access.create_user",
        ask=lambda c: c.access.create_user("lease-x@pve", "a long password", comment="x"),
    ),
    Case(method="access.grant", ask=lambda c: c.access.grant("lease-x@pve", "Console", CT)),
    *(
        Case(
            method="administration.make", ask=lambda c, change=change: c.administration.make(change)
        )
        for change in (
            administration.create_role("R402X", ["VM.Audit", "VM.Console"]),
            administration.set_privileges("R402X", ["VM.Audit"]),
            administration.create_user("pve402@pve", "container leases"),
            administration.enable_user("pve402@pve"),
            administration.create_token("pve402@pve", "service"),
            administration.join_rights("pve402@pve", "service"),
            administration.renew_secret("pve402@pve", "service"),
            administration.create_pool("leases"),
            administration.grant(
                "pve402@pve", administration.Grant(path="/vms", role="R402X", propagate=False)
            ),
            administration.download_template("pve", "local", "debian-12.tar.zst"),
            administration.create_zone("tenants"),
            administration.create_vnet("tenants0", "tenants"),
            administration.create_subnet("tenants0", "10.77.0.0/24", "10.77.0.1"),
            administration.apply_networks(),
            administration.add_node_rule("pve", A_NODE_RULE),
            administration.create_local_network("10.99.0.1/32"),
            administration.change_local_network("10.99.0.1/32"),
            administration.switch_firewall(on=True),
        )
    ),
    Case(method="administration.is_enabled", ask=lambda c: c.administration.is_enabled("a@pve")),
    Case(method="administration.tokens", ask=lambda c: c.administration.tokens("a@pve")),
    Case(method="administration.pools", ask=lambda c: c.administration.pools()),
    Case(method="administration.grants", ask=lambda c: c.administration.grants("a@pve")),
    Case(
        method="administration.privileges_of",
        ask=lambda c: c.administration.privileges_of("a@pve!box", "/vms"),
    ),
    Case(method="access.delete_user", ask=lambda c: c.access.delete_user("lease-x@pve")),
]
WAYS = {
    "guests": Guests,
    "snapshots": GuestSnapshots,
    "tasks": Tasks,
    "nodes": Nodes,
    "storages": Storages,
    "access": Access,
    "guest_firewalls": GuestFirewalls,
    "cluster_firewall": ClusterFirewall,
    "administration": administration.Administration,
    "guest_filters": GuestFilters,
    "sdn": Sdn,
    "ipam": Ipam,
}
NOT_OFFICIAL = {"guests.execute": ["no such call: POST /nodes/pve/lxc/10001/exec"]}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    """A server that answers by its script, and then with failures."""
    async with scripted_server.running() as scripted:
        yield scripted


@pytest.fixture
async def ways(server: ScriptedServer) -> AsyncIterator[SimpleNamespace]:
    """All that knows calls of Proxmox VE."""
    options = ProxmoxOptions(host=server.url, token_id="svc@pve!test", token_secret="secret")
    async with ProxmoxClient(options) as client:
        yield SimpleNamespace(**{name: way(client) for name, way in WAYS.items()})


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_call_is_as_the_schema_has_it(
    server: ScriptedServer, ways: SimpleNamespace, case: Case
) -> None:
    server.script = [*case.script]

    with contextlib.suppress(errors.ProxmoxError):
        await case.ask(ways)

    calls = list(_calls(server))
    assert len(calls) > len(case.script) or case.script[-1] in (ENDED, LINES)
    found = [fault for call in calls for fault in pve_schema.faults(call)]
    assert found == NOT_OFFICIAL.get(case.method, []), calls


def test_every_method_that_asks_proxmox_has_a_case() -> None:
    asking = {
        f"{name}.{method}"
        for name, way in WAYS.items()
        for method, _ in inspect.getmembers(way, inspect.iscoroutinefunction)
        if not method.startswith("_")
    }

    assert {case.method for case in CASES} == asking


def test_nothing_else_asks_proxmox() -> None:
    """Elsewhere nobody names a path; the client's own `call` stays within its package."""
    raw = re.compile(r"\b_?(?:client|proxmox|wire)\.(?:call|request|exchange)\(")
    folder = project.ROOT / "src/pve402"
    files = [file for file in folder.rglob("*.py") if "devnet" not in file.parts]
    own = {inspect.getfile(way) for way in (*WAYS.values(), ProxmoxClient)}

    found = {str(file) for file in files if raw.search(file.read_text())}

    assert found <= own | {str(folder / "proxmox/login.py")}


def _calls(server: ScriptedServer) -> Iterator[pve_schema.Call]:
    for request in server.requests:
        parts = urlsplit(request.target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        pairs += parse_qsl(request.body, keep_blank_values=True)
        path = parts.path.removeprefix("/api2/json")
        yield pve_schema.Call(method=request.method, path=path, parameters=tuple(pairs))
