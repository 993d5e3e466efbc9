"""What the guest calls send, and what they make of odd answers."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support import scripted_server
from tests.support.scripted_server import ScriptedServer

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guests import GuestRef, Guests, RunState

REF = GuestRef(node="pve", vmid=101)
UPID = "UPID:pve:00001111:000957D5:6B01E906:vzstart:101:svc@pve!test:"
STARTED = scripted_server.data(json.dumps(UPID))
LXC = "/api2/json/nodes/pve/lxc/101"


@pytest.fixture
def guests(client: ProxmoxClient) -> Guests:
    return Guests(client)


@pytest.mark.parametrize(
    ("act", "method", "path", "sent"),
    [
        (lambda g: g.start(REF), "POST", f"{LXC}/status/start", {}),
        (lambda g: g.stop(REF), "POST", f"{LXC}/status/stop", {"overrule-shutdown": "1"}),
        (lambda g: g.shutdown(REF), "POST", f"{LXC}/status/shutdown", {"timeout": "60"}),
        (
            lambda g: g.shutdown(REF, limit_seconds=5, force_stop=True),
            "POST",
            f"{LXC}/status/shutdown",
            {"timeout": "5", "forceStop": "1"},
        ),
        (lambda g: g.reboot(REF), "POST", f"{LXC}/status/reboot", {"timeout": "60"}),
        (
            lambda g: g.delete(REF),
            "DELETE",
            LXC,
            {"purge": "1", "destroy-unreferenced-disks": "1"},
        ),
        (
            lambda g: g.delete(REF, force=True),
            "DELETE",
            LXC,
            {"purge": "1", "destroy-unreferenced-disks": "1", "force": "1"},
        ),
        (
            lambda g: g.execute(REF, "uptime", "-p"),
            "POST",
            f"{LXC}/exec",
            {"command": "uptime", "params": "-p"},
        ),
        (
            lambda g: g.update_config(REF, {"tags": "a;b"}, delete=["net0", "tags"], digest="abc"),
            "PUT",
            f"{LXC}/config",
            {"tags": "a;b", "delete": "net0,tags", "digest": "abc"},
        ),
        (lambda g: g.update_config(REF, {"memory": 64}), "PUT", f"{LXC}/config", {"memory": "64"}),
    ],
)
async def test_a_call_sends_no_more_than_it_needs(
    act: Callable[[Guests], Awaitable[Any]],
    method: str,
    path: str,
    sent: dict[str, str],
    server: ScriptedServer,
    guests: Guests,
) -> None:
    server.script = [STARTED]

    await act(guests)

    (request,) = server.requests
    assert (request.method, request.path) == (method, path)
    assert request.form | request.query == sent


@pytest.mark.parametrize(
    "reason",
    [
        "Not applicable for HA resources.",
        "property is not defined in schema and the schema does not allow additional properties",
    ],
)
async def test_a_stop_that_may_not_end_shutdowns_just_stops(
    reason: str, server: ScriptedServer, guests: Guests
) -> None:
    refused = json.dumps({"data": None, "errors": {"overrule-shutdown": reason}}).encode()
    failed = scripted_server.answer(400, "Parameter verification failed.", refused)
    server.script = [failed, STARTED]

    assert (await guests.stop(REF)).text == UPID
    assert [request.form for request in server.requests] == [{"overrule-shutdown": "1"}, {}]


async def test_a_stop_that_is_refused_for_another_reason_is_not_sent_again(
    server: ScriptedServer, guests: Guests
) -> None:
    refused = json.dumps({"data": None, "errors": {"node": "bad", "overrule-shutdown": "x"}})
    server.script = [
        scripted_server.answer(400, "Parameter verification failed.", refused.encode())
    ]

    with pytest.raises(errors.InvalidParameters):
        await guests.stop(REF)
    assert len(server.requests) == 1


async def test_a_write_that_answers_without_a_upid_has_an_unknown_outcome(
    server: ScriptedServer, guests: Guests
) -> None:
    server.script = [scripted_server.data("null")]

    with pytest.raises(errors.OutcomeUnknown):
        await guests.start(REF)


@pytest.mark.parametrize("data", ["null", "[]", '"x"', "[1]", '{"status":1}', "{}"])
async def test_a_read_of_another_shape_is_unexpected(
    data: str, server: ScriptedServer, guests: Guests
) -> None:
    server.script = [scripted_server.data(data)]

    with pytest.raises(errors.UnexpectedAnswer):
        await guests.status(REF)


@pytest.mark.parametrize("data", ["null", "{}", '"101x"', "-1", "true", '""'])
async def test_a_next_vmid_that_is_none_is_unexpected(
    data: str, server: ScriptedServer, guests: Guests
) -> None:
    server.script = [scripted_server.data(data)]

    with pytest.raises(errors.UnexpectedAnswer):
        await guests.next_vmid()


async def test_the_list_of_all_guests_is_one_call_and_leaves_out_virtual_machines(
    server: ScriptedServer, guests: Guests
) -> None:
    rows = [
        {"type": "lxc", "node": "pve", "vmid": 101, "status": "running", "tags": "a;b"},
        {"type": "qemu", "node": "pve", "vmid": 102, "status": "running"},
        {"type": "lxc", "node": "pve", "vmid": 103, "status": "unknown", "lock": "create"},
    ]
    server.script = [scripted_server.data(json.dumps(rows))]

    found = await guests.list_all()

    assert [(guest.vmid, guest.state, guest.lock) for guest in found] == [
        (101, RunState.RUNNING, ""),
        (103, RunState.UNKNOWN, "create"),
    ]
    assert found[0].tags == ("a", "b")
    assert [request.query for request in server.requests] == [{"type": "vm"}]


async def test_addresses_that_a_guest_made_up_are_left_out(
    server: ScriptedServer, guests: Guests
) -> None:
    cards = [
        {"name": "eth0", "ip-addresses": [{"ip-address": "<script>", "prefix": "24"}, 5, None]},
        {"name": "old", "inet": "10.0.0.5/24", "inet6": None},
        {"name": "many", "ip-addresses": [{"ip-address": "10.0.0.1", "prefix": 8}] * 1000},
    ]
    server.script = [scripted_server.data(json.dumps(cards))]

    eth0, old, many = await guests.interfaces(REF)

    assert eth0.addresses == ()
    assert [str(address) for address in old.addresses] == ["10.0.0.5/24"]
    assert len(many.addresses) == 64


async def test_a_vnc_password_is_taken_from_the_ticket_where_it_is_not_given(
    server: ScriptedServer, guests: Guests
) -> None:
    fields = {"user": "a@pve", "ticket": "k3Y/+x9z:PVEVNC:6B01::sig", "port": "5901", "upid": UPID}
    server.script = [scripted_server.data(json.dumps(fields))]

    ticket = await guests.open_vnc(REF)

    assert (ticket.password, ticket.port) == ("k3Y/+x9z", 5901)
    assert "k3Y" not in repr(ticket)


@pytest.mark.parametrize("node", ["", "..", "."])
def test_a_node_name_cannot_bend_the_path(node: str) -> None:
    with pytest.raises(ValueError, match="segment"):
        GuestRef(node=node, vmid=101).path("config")


def test_a_slash_in_a_node_name_is_encoded() -> None:
    assert GuestRef(node="a/b?c", vmid=101).path() == "/nodes/a%2Fb%3Fc/lxc/101"
