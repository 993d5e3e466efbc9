"""Clients of the first service work unchanged: their requests are served, their models read.

The models below are what its agent validates answers with, its strictness included: a text is no
number, a number is no text, and a value that is null fails a whole list.
"""

import json
from typing import Any

import pydantic
import pytest
from pydantic.alias_generators import to_camel
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import BODY, NETWORK, Api, make_api

from pve402 import config, schemas
from pve402.api.messages import command_request
from pve402.api.routes import console
from pve402.api.transport import body
from pve402.domain import lease
from pve402.guests import consoles
from pve402.guests.consoles import Kind
from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Read(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel)


class Cpu(Read):
    usage: float | None
    cores: int | None
    pct: float | None


class Space(Read):
    used: int | None
    total: int | None
    free: int | None
    pct: float | None


class Node(Read):
    node: str
    cpu: Cpu
    memory: Space
    disk: Space


class GuestFigures(Read):
    lease_id: str
    ctid: str
    sku: str | None
    status: str | None
    error: str | None
    cpu: Cpu | None
    memory: Space | None
    disk: Space | None


class Listed(Read):
    lease_id: str
    ctid: str
    status: str
    network: str
    created_at: str
    expires_at: str | None
    vm_status: dict[str, Any] | None


class Bought(Read):
    lease_id: str
    status: str
    ctid: str | None
    expires_at: str | None
    message: str | None
    owner_wallet: str | None


async def lease_paid(api: Api, body: dict[str, Any]):
    unpaid = await api.client.post("/lease/container", body)
    assert unpaid.status == 402, unpaid.json()
    signed = wallets.payment_headers(wallets.ALICE, unpaid, version=1)
    return await api.client.post("/lease/container", body, headers=signed)


def holder(api: Api, **changes: Any) -> lease.Lease:
    """A lease whose owner calls with a token."""
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)
    return api.leases.add(fake_leases.make_lease(ALICE, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"hostname": ...},
        {"hostname": None},
        {"requester": None, "payload": None},
        {"sku": "basic-lxc"},
        {"sku": "basic-lxc", "hostname": ..., "cores": ..., "memoryMB": ..., "diskGB": ...},
        {"cores": None, "memoryMB": None, "diskGB": None},
        {"template": None, "sshPublicKeys": None},
        {"runtimeMinutes": "60", "colour": None},
    ],
)
async def test_a_lease_is_sold_for_what_the_agent_sends(api: Api, changes: dict[str, Any]):
    body = {name: value for name, value in {**BODY, **changes}.items() if value is not ...}

    reply = await lease_paid(api, body)

    assert reply.status == 200, reply.json()
    Bought.model_validate(reply.json())


@pytest.mark.parametrize("required", ["sku", "runtimeMinutes"])
async def test_a_required_field_that_is_null_is_missing(api: Api, required: str):
    reply = await api.client.post("/lease/container", {**BODY, required: None})

    assert (reply.status, reply.code) == (422, "invalid_body")
    assert required in reply.json()["detail"]


@pytest.mark.parametrize("statuses", [[], ["CREATING"], ["ACTIVE"], ["CREATING", "ACTIVE"]])
@pytest.mark.parametrize("path", ["/management/list", "/management/list?all=true"])
async def test_the_list_is_read_whatever_state_leases_are_in(api: Api, statuses, path: str):
    for number, name in enumerate(statuses):
        new = {"expires_at": None} if name == "CREATING" else {}
        holder(api, vmid=10000 + number, status=lease.LeaseStatus[name], **new)
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    listed = (await api.client.get(path, headers=BEARER)).json()

    assert len([Listed.model_validate(item) for item in listed]) == len(statuses)


@pytest.mark.parametrize(
    ("seen", "missing", "word"),
    [
        (True, False, "running"),
        (True, True, "missing"),
        (False, True, "unknown"),
        (False, False, "running"),
    ],
)
async def test_the_status_of_figures_is_that_of_the_guest(api: Api, seen, missing, word: str):
    holder(api)
    api.leases.proxmox_seen, api.leases.guests_missing = seen, missing
    word = word if seen else "unknown"

    (figures,) = (await api.client.get("/stats/lxc", headers=BEARER)).json()

    GuestFigures.model_validate(figures)
    assert (figures["status"], figures["leaseStatus"]) == (word, "active")


async def test_figures_leave_out_a_lease_without_a_ctid(api: Api):
    holder(api, status=lease.LeaseStatus.CREATING, expires_at=None)
    holder(api, vmid=10001)

    figures = (await api.client.get("/stats/lxc", headers=BEARER)).json()

    assert [GuestFigures.model_validate(each).ctid for each in figures] == ["10001"]


@pytest.mark.parametrize(
    "shown", [set(), {"name"}, {"cpu"}, {"memory", "name"}, {"disk"}, {"cpu", "memory", "disk"}]
)
async def test_figures_of_nodes_are_objects_whatever_the_operator_shows(shown: set[str]):
    api = make_api(stats_fields=frozenset(shown))

    stats = (await api.client.get("/stats/node")).json()

    for node in (stats, *stats["nodes"]):
        Node.model_validate(node)
    assert (stats["cpu"]["pct"] is not None) == ("cpu" in shown)
    assert (stats["memory"]["used"] is not None) == ("memory" in shown)


async def test_no_credential_shows_no_figures_of_anybody(api: Api):
    holder(api)

    reply = await api.client.get("/stats/lxc", headers={"X-Wallet": wallets.ALICE.address})

    assert reply.status == 402
    assert "10000" not in str(reply.json())


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"{}", Kind.VNC),
        (b'{"consoleType":null}', Kind.VNC),
        (b'{"consoleType":"vnc"}', Kind.VNC),
        (b'{"consoleType":"spice"}', Kind.VNC),
        (b'{"consoleType":"spice","x":1}', Kind.VNC),
        (b'{"consoleType":"terminal"}', Kind.TERMINAL),
    ],
)
def test_every_known_type_of_console_opens_one(sent: bytes, kind: Kind):
    asked = body.parse(sent, schemas.ConsoleRequest)

    assert console.KINDS[asked.console_type] is kind


@pytest.mark.parametrize("sent", [b'{"consoleType":"rdp"}', b'{"consoleType":""}', b"[]"])
def test_no_other_type_does(sent: bytes):
    with pytest.raises(body.BodyInvalid):
        body.parse(sent, schemas.ConsoleRequest)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"extraArgs": None},
        {"extraArgs": []},
        {"env": None, "cwd": None, "user": None},
        {"timeoutSeconds": None, "maxOutputBytes": None, "detach": None},
        {"argv": None, "stdin": None, "openStdin": None, "encoding": None},
    ],
)
def test_a_command_runs_with_nulls_for_what_is_left_out(more: dict[str, Any]):
    sent = json.dumps({"command": "uptime", **more}).encode()

    asked = body.parse(sent, schemas.ExecRequest)

    plain = body.parse(b'{"command":"uptime"}', schemas.ExecRequest)
    as_asked = command_request.to_request(asked, streams=False)
    assert as_asked == command_request.to_request(plain, streams=False)


def test_a_creation_and_a_link_wait_as_long_as_the_agent_and_its_user_do():
    waits = config.Settings.model_fields["pve402_create_wait_seconds"]

    assert waits.default <= 50  # the agent gives a call up after 60
    assert consoles.ConsoleOptions().ticket_seconds >= 120  # until a person has read and clicked
