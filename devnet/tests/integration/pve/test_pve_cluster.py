"""Several nodes, TLS, the call for commands, and where the server may listen."""

import asyncio

import pytest
from devnet.tests.integration.pve.conftest import Client, MakeClient

from pve402_devnet.pve import (
    AccessOptions,
    NodeOptions,
    Progress,
    SimulatedProxmox,
    SimulatorOptions,
    TokenOptions,
    clock,
    server,
)

NODES = (NodeOptions(name="pve1"), NodeOptions(name="pve2", address="10.99.0.2"))


async def test_guests_of_all_nodes_share_their_numbers(make_client: MakeClient) -> None:
    client = await make_client(nodes=NODES)
    await client.create(100, node="pve2")

    taken = await client.call("POST", "/nodes/pve1/lxc", vmid=100, ostemplate="x")
    elsewhere = await client.call("GET", "/nodes/pve1/lxc/100/config")
    resources = await client.call("GET", "/cluster/resources", type="vm")

    assert taken.reason == "CT 100 already exists on node 'pve2'"
    assert elsewhere.reason == "Configuration file 'nodes/pve1/lxc/100.conf' does not exist"
    assert [row["node"] for row in resources.data] == ["pve2"]


async def test_a_node_that_is_away_is_not_reached(make_client: MakeClient) -> None:
    client = await make_client(nodes=NODES)
    await client.order("/state", offline=["pve2"])

    answer = await client.call("GET", "/nodes/pve2/lxc")
    nodes = await client.call("GET", "/nodes")

    assert (answer.status, answer.body) == (595, "")
    assert {row["node"]: row["status"] for row in nodes.data} == {
        "pve1": "online",
        "pve2": "offline",
    }


async def test_a_node_in_maintenance_says_so_among_the_resources(make_client: MakeClient) -> None:
    client = await make_client(nodes=NODES)
    await client.order("/state", maintenance=["pve2"])

    nodes = await client.call("GET", "/cluster/resources", type="node")

    assert {row["node"]: (row["status"], row.get("hastate")) for row in nodes.data} == {
        "pve1": ("online", None),
        "pve2": ("online", "maintenance"),
    }


async def test_a_running_guest_migrates_by_restart(make_client: MakeClient) -> None:
    client = await make_client(nodes=NODES)
    await client.create(100, node="pve1")
    await client.run("POST", "/nodes/pve1/lxc/100/status/start")
    path = "/nodes/pve1/lxc/100/migrate"

    refused = await client.call("POST", path, target="pve2")
    moved = await client.run("POST", path, target="pve2", restart=1)

    assert refused.reason == "can't migrate running container without --online or --restart"
    assert moved.exit_status == "OK"
    current = await client.call("GET", "/nodes/pve2/lxc/100/status/current")
    assert current.data["status"] == "running"


async def test_tls_with_a_certificate_of_its_own(make_client: MakeClient) -> None:
    client = await make_client(tls=True)

    assert client.proxmox.base_url.startswith("https://127.0.0.1:")
    assert len(client.proxmox.fingerprint_sha256) == 95
    assert (await client.call("GET", "/version")).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "localhost.example"])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(server.NotLoopback):
        SimulatedProxmox(SimulatorOptions(host=host))


async def test_commands_run_where_the_call_is_provided(make_client: MakeClient) -> None:
    stock, provided = await make_client(), await make_client(exec_endpoint=True)
    path = "/nodes/pve/lxc/100/exec"
    await provided.create(100)

    missing = await stock.call("POST", path, command="ls")
    stopped = await provided.call("POST", path, command="ls")
    await provided.run("POST", "/nodes/pve/lxc/100/status/start")
    task = await provided.run("POST", path, command="ls", params="-la /")

    assert (missing.status, missing.reason) == (501, f"Method 'POST {path}' not implemented")
    assert stopped.reason == "CT 100 not running"
    assert task.lines == ["ls -la /", "TASK OK"]


async def test_tokens_are_new_each_run(make_client: MakeClient) -> None:
    first, second = await make_client(), await make_client()

    assert first.proxmox.token_secret != second.proxmox.token_secret
    assert first.proxmox.token_secret not in repr(first.proxmox.options)


async def test_configured_tokens_come_first(make_client: MakeClient) -> None:
    token = TokenOptions(user="a@pve", name="t", secret="chosen")
    client = await make_client(access=AccessOptions(tokens=(token,)))

    assert (client.proxmox.token_id, client.proxmox.token_secret) == ("a@pve!t", "chosen")
    assert (await client.call("GET", "/access/permissions")).data == {}


async def test_a_fresh_guest_reads_unknown_until_figures_are_published(client: Client) -> None:
    await client.create(100)

    fresh = (await client.call("GET", "/cluster/resources", type="vm")).data
    await client.proxmox.publish()
    known = (await client.call("GET", "/cluster/resources", type="vm")).data

    assert fresh[0]["status"] == "unknown"
    assert known[0]["status"] == "stopped"


async def test_by_tick_nothing_ends_until_the_clock_is_moved(make_client: MakeClient) -> None:
    client = await make_client(progress=Progress.BY_TICK)
    time = client.proxmox.world.clock
    assert isinstance(time, clock.TickClock)
    create = asyncio.create_task(client.create(100))

    while not client.proxmox.world.tasks.running("vzcreate", "100"):
        await client.order("/tick", seconds=0.05)
        await asyncio.sleep(0.01)
    assert not create.done()
    await client.order("/tick", seconds=1)

    assert (await create).exit_status == "OK"


async def test_guests_whose_programs_end_by_themselves_read_stopped(client: Client) -> None:
    await client.create(100)
    await client.run("POST", "/nodes/pve/lxc/100/status/start")

    await client.proxmox.world.runtime.stop(100)
    current = await client.call("GET", "/nodes/pve/lxc/100/status/current")

    assert current.data["status"] == "stopped"


async def test_a_rights_giver_hands_out_no_more_than_it_has(make_client: MakeClient) -> None:
    client = await make_client()
    await client.create(100)
    await client.call("POST", "/access/users", userid="op@pve", password="long-enough")
    await client.call("POST", "/access/users", userid="tenant@pve")
    await client.call("PUT", "/access/acl", path="/vms", users="op@pve", roles="PVEVMUser")
    await client.call("POST", "/access/roles", roleid="Allocates", privs="VM.Allocate")
    await client.call("PUT", "/access/acl", path="/vms", users="op@pve", roles="Allocates")
    login = await client.call("POST", "/access/ticket", username="op@pve", password="long-enough")
    assert login.status == 403  # a token gets no ticket
    client.headers = {}
    login = await client.call("POST", "/access/ticket", username="op@pve", password="long-enough")
    client.headers = {
        "Cookie": f"PVEAuthCookie={login.data['ticket']}",
        "CSRFPreventionToken": login.data["CSRFPreventionToken"],
    }
    rule = {"path": "/vms/100", "users": "tenant@pve"}

    assert (await client.call("PUT", "/access/acl", roles="PVEVMUser", **rule)).status == 200
    refused = await client.call("PUT", "/access/acl", roles="PVEVMAdmin", **rule)

    assert refused.status == 400
    assert "superset of privileges" in refused.body["errors"]["role"]
