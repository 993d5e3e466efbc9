"""Addresses of guests: when they show, who gives them, and what becomes of them."""

from typing import Any

import pytest
from devnet.tests.integration.pve.conftest import Client, MakeClient

from pve402_devnet.pve import AccessOptions, AclOptions, TokenOptions
from pve402_devnet.pve.options import Latencies

SDN = "/cluster/sdn"
NETWORK = f"{SDN}/vnets/rent0"
GUEST = "/nodes/pve/lxc/100"
CARD = "name=eth0,bridge=vmbr0"
SUBNET = {
    "subnet": "10.88.0.0/24",
    "type": "subnet",
    "gateway": "10.88.0.1",
    "dhcp-range": [
        "start-address=10.88.0.50,end-address=10.88.0.50",
        "start-address=10.88.0.60,end-address=10.88.0.60",
    ],
}


async def make_network(client: Client, *, applied: bool = True) -> None:
    zone = {"zone": "rent", "type": "simple", "dhcp": "dnsmasq", "ipam": "pve"}
    for path, wanted in (
        ("/zones", zone),
        ("/vnets", {"vnet": "rent0", "zone": "rent"}),
        ("/vnets/rent0/subnets", SUBNET),
    ):
        answer = await client.call("POST", SDN + path, **wanted)
        assert answer.status == 200, answer
    if applied:
        assert (await client.run("PUT", SDN)).exit_status == "OK"


async def given(client: Client) -> dict[Any, str]:
    """The address of each guest, and the gateway's under None."""
    rows = (await client.call("GET", f"{SDN}/ipams/pve/status")).data
    return {row.get("vmid"): row["ip"] for row in rows}


async def card_of(client: Client, vmid: int) -> str:
    return str((await client.call("GET", f"/nodes/pve/lxc/{vmid}/config")).data["net0"])


async def inet(client: Client) -> str | None:
    shown = (await client.call("GET", f"{GUEST}/interfaces")).data
    return next((one.get("inet") for one in shown if one["name"] == "eth0"), None)


@pytest.mark.parametrize(
    ("asked", "at_first", "later"),
    [("10.99.0.9/24", "10.99.0.9/24", "10.99.0.9/24"), ("dhcp", None, "10.99.0.100/24")],
)
async def test_a_started_guest_shows_its_interfaces_by_and_by(
    make_client: MakeClient, asked: str, at_first: str | None, later: str
) -> None:
    client = await make_client(latencies=Latencies(start=0, create=0))
    await client.create(100, net0=f"{CARD},ip={asked}")
    await client.run("POST", f"{GUEST}/status/start")
    world = client.proxmox.world
    world.latencies = Latencies()

    def running_for(seconds: float) -> None:
        world.guests[100].started_at = world.clock.now() - seconds

    running_for(0.1)
    assert (await client.call("GET", f"{GUEST}/interfaces")).data is None
    running_for(2)
    assert await inet(client) == at_first
    running_for(4)
    assert await inet(client) == later


async def test_a_network_gives_addresses_until_they_are_used_up(client: Client) -> None:
    await make_network(client)
    for vmid in (100, 101, 102):
        assert (
            await client.create(vmid, net0="name=eth0,bridge=rent0,ip=dhcp")
        ).exit_status == "OK"

    assert await given(client) == {None: "10.88.0.1", 100: "10.88.0.50", 101: "10.88.0.60"}
    await client.run("DELETE", GUEST)
    assert 100 not in await given(client)
    await client.run("POST", "/nodes/pve/lxc/101/clone", newid=103, full=1)
    assert (await given(client))[103] == "10.88.0.50"


async def test_a_card_without_its_old_hardware_address_loses_its_address(client: Client) -> None:
    await make_network(client)
    await client.create(100, net0="name=eth0,bridge=rent0,ip=dhcp")
    before, address = await card_of(client, 100), (await given(client))[100]

    await client.call("PUT", f"{GUEST}/config", net0=before)
    kept = (await given(client))[100]
    await client.call("PUT", f"{GUEST}/config", net0="name=eth0,bridge=rent0,ip=dhcp")

    assert kept == address
    assert await card_of(client, 100) != before
    (row,) = [
        row
        for row in (await client.call("GET", f"{SDN}/ipams/pve/status")).data
        if row.get("vmid") == 100
    ]
    assert row["mac"] in await card_of(client, 100)
    await client.call("PUT", f"{GUEST}/config", net0=f"{CARD},ip=dhcp")
    assert 100 not in await given(client)


async def test_a_static_address_is_not_checked(client: Client) -> None:
    await make_network(client)
    await client.create(100, net0="name=eth0,bridge=rent0,ip=dhcp")

    task = await client.create(101, net0="name=eth0,bridge=rent0,ip=10.88.0.50/24")

    assert task.exit_status == "OK"
    assert 101 not in await given(client)


async def test_a_network_exists_once_it_is_applied(client: Client) -> None:
    await make_network(client, applied=False)
    await client.create(100, net0="name=eth0,bridge=rent0,ip=dhcp")

    before = await client.run("POST", f"{GUEST}/status/start")
    await client.order("/state", networkReloadFails=True)
    failed = await client.run("PUT", SDN)
    still = await client.run("POST", f"{GUEST}/status/start")
    pending = (await client.call("GET", "/nodes/pve/sdn/zones")).data
    await client.order("/state", networkReloadFails=False)
    await client.run("PUT", SDN)
    after = await client.run("POST", f"{GUEST}/status/start")

    assert [before.exit_status, still.exit_status] == ["bridge 'rent0' does not exist"] * 2
    assert (failed.exit_status, len(failed.lines)) == ("OK", 4)
    assert pending == [{"zone": "rent", "status": "pending"}]
    assert after.exit_status == "OK"
    assert (await client.call("GET", "/nodes/pve/sdn/zones")).data[0]["status"] == "available"


async def test_what_is_in_use_is_not_removed(client: Client) -> None:
    await make_network(client)
    await client.create(100, net0="name=eth0,bridge=rent0,ip=dhcp")
    subnet = f"{NETWORK}/subnets/rent-10.88.0.0-24"

    refused = [await client.call("DELETE", path) for path in (f"{SDN}/zones/rent", NETWORK, subnet)]
    await client.run("DELETE", GUEST)
    removed = [await client.call("DELETE", path) for path in (subnet, NETWORK, f"{SDN}/zones/rent")]

    assert [answer.status for answer in refused] == [500] * 3
    assert [answer.status for answer in removed] == [200] * 3
    assert await given(client) == {}
    assert (await client.call("GET", f"{SDN}/vnets")).data == []


async def test_an_address_is_reserved_by_hand_once(client: Client) -> None:
    await make_network(client)
    wanted = {"zone": "rent", "ip": "10.88.0.50", "mac": "BC:24:11:00:00:99"}

    answers = [await client.call("POST", f"{NETWORK}/ips", **wanted) for _ in range(2)]
    outside = await client.call("POST", f"{NETWORK}/ips", **{**wanted, "ip": "10.99.0.1"})
    await client.create(100, net0="name=eth0,bridge=rent0,ip=dhcp")
    freed = await client.call("DELETE", f"{NETWORK}/ips", **wanted)

    assert [answer.status for answer in (*answers, outside, freed)] == [200, 500, 500, 200]
    assert await given(client) == {None: "10.88.0.1", 100: "10.88.0.60"}


async def test_a_guest_is_plugged_into_a_network_by_the_right_on_it(
    make_client: MakeClient,
) -> None:
    rules = (("/vms", "PVEVMAdmin"), ("/storage", "PVEDatastoreUser"))
    client = await make_client(
        access=AccessOptions(
            tokens=(
                TokenOptions(user="root@pam", name="all", privilege_separated=False),
                TokenOptions(user="svc@pve", name="one", privilege_separated=False),
            ),
            acl=tuple(AclOptions(path=path, who="svc@pve", role=role) for path, role in rules),
        )
    )
    await make_network(client)
    service = Client(
        proxmox=client.proxmox,
        http=client.http,
        headers=client.proxmox.authorization("svc@pve!one"),
    )
    wanted = {
        "vmid": 100,
        "ostemplate": "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz",
        "rootfs": "local:1",
        "net0": "name=eth0,bridge=rent0,ip=dhcp",
    }

    before = await service.call("POST", "/nodes/pve/lxc", **wanted)
    client.proxmox.world.access.grant("/sdn/zones/rent/rent0", "svc@pve", "PVESDNUser")
    after = await service.call("POST", "/nodes/pve/lxc", **wanted)

    assert (before.status, before.reason) == (
        403,
        "Permission check failed (/sdn/zones/rent/rent0, SDN.Use)",
    )
    assert after.status == 200
