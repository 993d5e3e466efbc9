"""All parts of a devnet together, in this process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from eth_account import Account
from tests.support import paywall

from pve402_devnet.composition import Devnet
from pve402_devnet.options import DevnetOptions

pytestmark = pytest.mark.namespaces
FRIEND = "0x" + "ab" * 20


@pytest.fixture
async def devnet() -> AsyncIterator[Devnet]:
    async with Devnet(DevnetOptions(latency_scale=0, fund=(FRIEND,))) as running:
        yield running


async def proxmox(devnet: Devnet, path: str) -> object:
    known = devnet.settings
    token = f"PVEAPIToken={known['PVE_TOKEN_ID']}={known['PVE_TOKEN_SECRET']}"
    headers = {"Authorization": token}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{known['PVE_HOST']}/api2/json{path}") as response,
    ):
        assert response.status == 200
        return (await response.json())["data"]


async def test_the_settings_are_complete(devnet: Devnet) -> None:
    expected = {"PVE_HOST", "PVE_TOKEN_ID", "PVE_TOKEN_SECRET", "PVE_NODE", "PVE_STORAGE"}
    expected |= {"PVE_OS_TEMPLATE", "PVE_VERIFY_SSL", "NETWORK", "PAY_TO", "RPC_URL"}
    expected |= {"FACILITATOR_URL", "DATABASE_URL", "DEVNET_TENANT_KEY"}

    assert set(devnet.settings) == expected
    assert devnet.settings["NETWORK"] == "base-sepolia"


async def test_the_token_sees_both_storages_and_the_template(devnet: Devnet) -> None:
    storage = devnet.settings["PVE_STORAGE"]

    storages = await proxmox(devnet, "/nodes/pve/storage")
    found = await proxmox(devnet, f"/nodes/pve/storage/{storage}/content?content=vztmpl")

    assert isinstance(storages, list)
    assert {one["storage"]: one["type"] for one in storages} == {
        "local": "dir",
        "local-lvm": "lvmthin",
    }
    assert isinstance(found, list)
    assert devnet.settings["PVE_OS_TEMPLATE"] in {item["volid"] for item in found}


async def test_the_token_may_do_what_leases_need_and_no_more(devnet: Devnet) -> None:
    rights = await proxmox(devnet, "/access/permissions")

    assert isinstance(rights, dict)
    assert set(rights["/vms"]) >= {"VM.Allocate", "VM.Audit", "VM.PowerMgmt", "VM.Console"}
    assert set(rights["/vms"]) >= {"VM.Clone", "VM.Snapshot"}
    granted = {privilege for path in rights.values() for privilege in path}
    assert not granted & {"Sys.Modify", "Permissions.Modify", "User.Modify", "Sys.PowerMgmt"}


async def test_the_tenant_can_pay(devnet: Devnet) -> None:
    tenant = Account.from_key(devnet.settings["DEVNET_TENANT_KEY"])
    payment = paywall.sign_payment(tenant, devnet.settings["PAY_TO"], 5000)

    settled = await paywall.ask(devnet.settings["FACILITATOR_URL"], "settle", payment)

    assert settled["success"]
    assert devnet.chain.usdc_balance(devnet.settings["PAY_TO"]) == 5000
    assert devnet.chain.usdc_balance(tenant.address) == 10**9 - 5000


async def test_whoever_is_named_gets_money(devnet: Devnet) -> None:
    assert devnet.chain.usdc_balance(FRIEND) == 10**9
    assert int(devnet.chain.rpc("eth_getBalance", FRIEND), 16) == 10 * 10**18


async def test_two_devnets_share_no_key_and_no_port(devnet: Devnet) -> None:
    async with Devnet(DevnetOptions(latency_scale=0)) as other:
        drawn = ("PVE_HOST", "PVE_TOKEN_SECRET", "PAY_TO", "RPC_URL", "DEVNET_TENANT_KEY")
        assert not [name for name in drawn if devnet.settings[name] == other.settings[name]]


async def test_an_old_proxmox_comes_with_a_console_login() -> None:
    async with Devnet(DevnetOptions(latency_scale=0, old_proxmox=True)) as devnet:
        user = devnet.settings["PVE_CONSOLE_USER"]
        password = devnet.settings["PVE_CONSOLE_PASSWORD"]
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{devnet.settings['PVE_HOST']}/api2/json/access/ticket",
                data={"username": user, "password": password},
            ) as response,
        ):
            assert response.status == 200


@pytest.mark.parametrize("part", ["pve_port", "chain_port", "facilitator_port"])
async def test_a_taken_port_ends_what_was_started(part: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = DevnetOptions(latency_scale=0, **{part: taken.getsockname()[1]})

        with pytest.raises(OSError, match="address already in use"):
            await Devnet(options).start()


async def test_nothing_is_left_and_nobody_answers_afterwards(devnet: Devnet) -> None:
    database = Path(devnet.settings["DATABASE_URL"].removeprefix("sqlite:///"))
    assert database.parent.is_dir()

    await devnet.stop()

    assert not database.parent.parent.exists()
    async with aiohttp.ClientSession() as session:
        for name in ("PVE_HOST", "RPC_URL", "FACILITATOR_URL"):
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(devnet.settings[name])
