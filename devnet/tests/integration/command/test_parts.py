"""Each part of the devnet as a program of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.support import paywall
from tests.support.anvil import Anvil, anvil  # noqa: F401
from tests.support.chain import new_account

START_SECONDS = 60.0
PAYEE = "0x" + "ab" * 20


@asynccontextmanager
async def started(*arguments: str, **variables: str) -> AsyncIterator[tuple[Process, str]]:
    """A part, and the first line that it printed."""
    environment = {"PATH": os.environ["PATH"], "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pve402_devnet", *arguments),
        stdout=PIPE,
        stderr=PIPE,
        env=environment | variables,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: Process, lines: int) -> dict[str, str]:
    """The settings in the next lines."""
    assert process.stdout is not None
    read = [(await process.stdout.readline()).decode().strip() for _ in range(lines)]
    return dict(line.split("=", 1) for line in read if "=" in line)


async def rpc(url: str, method: str, *params: Any) -> Any:
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with aiohttp.ClientSession() as session, session.post(url, json=call) as response:
        return (await response.json())["result"]


async def test_a_chain_alone_funds_whom_it_is_told() -> None:
    async with started("chain", "--port", "0", "--fund", PAYEE) as (process, first):
        settings = await said(process, 2)
        url = first.removeprefix("RPC_URL=")
        balance = {"to": settings["USDC"], "data": "0x70a08231" + PAYEE[2:].rjust(64, "0")}

        owned = int(await rpc(url, "eth_call", balance, "latest"), 16)

        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert owned == 10**9
    assert settings["CHAIN_ID"] == "84532"


@pytest.mark.namespaces
async def test_proxmox_alone_runs_real_shells() -> None:
    arguments = ("pve", "--port", "0", "--latency", "0", "--shells", "--root-password", "s3cret")
    async with started(*arguments) as (process, first):
        settings = await said(process, 4)
        api = first.removeprefix("PVE_HOST=") + "/api2/json"
        token = f"PVEAPIToken={settings['PVE_TOKEN_ID']}={settings['PVE_TOKEN_SECRET']}"
        guest = {
            "vmid": "100",
            "rootfs": "local-lvm:4",
            "ostemplate": "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst",
        }
        async with aiohttp.ClientSession(headers={"Authorization": token}) as session:
            made = await session.post(f"{api}/nodes/pve/lxc", data={**guest, "start": "1"})
            state = ""
            while state != "running":
                shown = await session.get(f"{api}/nodes/pve/lxc/100/status/current")
                state = (await shown.json())["data"]["status"] if shown.status == 200 else ""

        async with aiohttp.ClientSession() as session:
            login = {"username": "root@pam", "password": "s3cret"}
            by_password = await session.post(f"{api}/access/ticket", data=login)

        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert (made.status, by_password.status) == (200, 200)


async def test_a_facilitator_alone_settles_on_a_chain_of_its_own() -> None:
    async with started("facilitator", "--port", "0") as (process, first):
        settings = await said(process, 1)
        payer = new_account()
        await rpc(settings["RPC_URL"], "devnet_mintUsdc", payer.address, 700)
        payment = paywall.sign_payment(payer, PAYEE, 700)

        settled = await paywall.ask(first.removeprefix("FACILITATOR_URL="), "settle", payment)

        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert settled["success"]


async def test_a_facilitator_settles_on_any_node(anvil: Anvil) -> None:  # noqa: F811
    async with started("facilitator", "--port", "0", "--rpc-url", anvil.url) as (_, first):
        payer = new_account()
        anvil.fund(payer.address, usdc_atomic=700)
        payment = paywall.sign_payment(payer, PAYEE, 700)

        settled = await paywall.ask(first.removeprefix("FACILITATOR_URL="), "settle", payment)

    assert settled["success"]
    assert anvil.usdc_balance(PAYEE) == 700


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("--rpc-url", "https://node.invalid"), {}, "plain http"),
        (("--rpc-url", "http://127.0.0.1:1"), {}, "gives no test money"),
        ((), {"FACILITATOR_KEY": "not-a-key"}, "does not hold a private key"),
    ],
)
async def test_a_facilitator_that_cannot_start_says_why(
    arguments: tuple[str, ...], variables: dict[str, str], words: str
) -> None:
    async with started("facilitator", "--port", "0", *arguments, **variables) as (process, _):
        _, errors = await process.communicate()

    assert process.returncode == 1
    assert words in errors.decode()
    assert "not-a-key" not in errors.decode()


@pytest.mark.namespaces
async def test_consoles_alone_answer() -> None:
    async with started("terminal", "--port", "0") as (process, url):
        async with aiohttp.ClientSession() as session:
            answer = await session.post(f"{url}/api2/json/nodes/pve/lxc/101/termproxy")
            opened = (await answer.json())["data"]

        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert opened["ticket"]
