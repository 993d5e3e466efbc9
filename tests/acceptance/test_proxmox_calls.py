"""Every call to Proxmox VE in the whole life of a lease, held to the official schema of its API."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from tests.support import processes, pve_schema, tap
from tests.support.api_fixtures import BODY
from tests.support.processes import DevnetProcess, ServeProcess
from tests.support.pve_schema import Call
from websockets.sync.client import connect

NOT_OFFICIAL = "/exec"
EXPECTED = {
    "POST /nodes/{node}/lxc",
    "POST /nodes/{node}/lxc/{vmid}/status/start",
    "POST /nodes/{node}/lxc/{vmid}/status/shutdown",
    "DELETE /nodes/{node}/lxc/{vmid}",
    "PUT /nodes/{node}/lxc/{vmid}/config",
    "GET /nodes/{node}/lxc/{vmid}/status/current",
    "POST /nodes/{node}/lxc/{vmid}/termproxy",
    "POST /nodes/{node}/lxc/{vmid}/vncproxy",
    "GET /nodes/{node}/lxc/{vmid}/vncwebsocket",
    "GET /nodes/{node}/tasks/{upid}/status",
    "GET /cluster/nextid",
    "GET /cluster/resources",
    "GET /access/permissions",
}


def test_a_whole_life_keeps_to_the_official_schema(
    devnet: DevnetProcess, serve: Callable[..., ServeProcess]
):
    with tap.on(devnet.settings["PVE_HOST"]) as line:
        service = serve(PVE_HOST=line.url)
        _live(service, line)
        settings = {**devnet.settings, "PVE_HOST": line.url}
        checked = processes.run("ops", "doctor", **settings)
        assert checked.returncode == 0, checked.stdout
        calls = set(line.calls)

    official = {call for call in calls if not call.path.endswith(NOT_OFFICIAL)}
    wrong = {call: found for call in official if (found := pve_schema.faults(call))}
    assert wrong == {}
    made = {f"{call.method} {pve_schema.template_of(call.path)}" for call in official}
    assert made >= EXPECTED


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (Call(method="GET", path="/nodes/pve/lxc/1/exec", parameters=()), "no such call"),
        (Call(method="POST", path="/nodes/pve/lxc", parameters=(("vmid", "x"),)), "no integer"),
        (Call(method="POST", path="/nodes/pve/lxc", parameters=(("vmid", "101"),)), "missing"),
        (Call(method="GET", path="/version", parameters=(("colour", "1"),)), "not known"),
        (
            Call(method="DELETE", path="/nodes/pve/lxc/101", parameters=(("purge", "true"),)),
            "neither 0 nor 1",
        ),
        (
            Call(
                method="PUT", path="/nodes/pve/lxc/101/config", parameters=(("net0", "nome=eth0"),)
            ),
            "nome: not known",
        ),
        (
            Call(
                method="PUT",
                path="/nodes/pve/lxc/101/config",
                parameters=(("net0", "name=eth0,bridge=a b"),),
            ),
            "not of the pattern",
        ),
    ],
)
def test_a_call_that_breaks_the_schema_is_noticed(call: Call, fault: str):
    assert any(fault in found for found in pve_schema.faults(call))


def _live(service: ServeProcess, line: tap.Tap) -> None:
    """Lease, renew, run, look, open both consoles, list, measure, end."""
    payer = service.tenant()
    bought = payer.post(f"{service.url}/lease/container", json=BODY, timeout=60).json()
    ctid, tenant = bought["ctid"], requests.Session()
    tenant.headers["Authorization"] = f"Bearer {bought['accessToken']}"
    renewal = {"runtimeMinutes": 30}
    payer.post(f"{service.url}/lease/{ctid}/renew", json=renewal, timeout=60).raise_for_status()
    for method, path, body in (
        ("POST", f"/management/exec/{ctid}", {"command": "uptime"}),
        ("POST", f"/management/console/{ctid}", {"consoleType": "vnc"}),
        ("GET", "/management/list", None),
        ("GET", "/stats/lxc", None),
        ("GET", "/stats/node", None),
    ):
        reply = tenant.request(method, service.url + path, json=body, timeout=60)
        reply.raise_for_status()
        if "console" in path:
            _look_at(reply.json())
    processes.wait_until(  # half a minute after the renewal
        lambda: any(call.method == "PUT" for call in line.calls), service.process, "rewritten"
    )
    tenant.delete(f"{service.url}/lease/{ctid}", timeout=60).raise_for_status()
    processes.wait_until(
        lambda: ctid not in service.devnet.guests(), service.process, f"rid of {ctid}"
    )


def _look_at(console: dict[str, Any]) -> None:
    """Open a console and wait for its first bytes."""
    with connect(console["websocketUrl"]) as socket:
        socket.send(json.dumps({"ticket": console["ticket"]}))
        while not isinstance(socket.recv(timeout=30), bytes):
            pass
