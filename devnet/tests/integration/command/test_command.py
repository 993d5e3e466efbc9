"""`pve402-devnet` as a program: it says where things are, and ends without a trace."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import dotenv
import psutil
import pytest

pytestmark = pytest.mark.namespaces
START_SECONDS = 60.0


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "pve402_devnet", "--latency", "0", *arguments]
    environment = {"PATH": os.environ["PATH"], "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def is_there(path: Path) -> bool:
    return path.exists()


async def settings_of(env_file: Path) -> dict[str, str]:
    async with asyncio.timeout(START_SECONDS):
        for _ in range(int(START_SECONDS * 20)):
            if is_there(env_file):
                break
            await asyncio.sleep(0.05)
    return {name: value or "" for name, value in dotenv.dotenv_values(env_file).items()}


async def start_a_guest(settings: dict[str, str]) -> None:
    token = f"PVEAPIToken={settings['PVE_TOKEN_ID']}={settings['PVE_TOKEN_SECRET']}"
    base = f"{settings['PVE_HOST']}/api2/json/nodes/pve/lxc"
    wanted = {
        "vmid": "10001",
        "ostemplate": settings["PVE_OS_TEMPLATE"],
        "rootfs": "local:4",
        "unprivileged": "1",
    }
    async with aiohttp.ClientSession(headers={"Authorization": token}) as session:
        async with session.post(base, data=wanted) as created:
            assert created.status == 200, await created.text()
        for _ in range(200):
            async with session.post(f"{base}/10001/status/start") as begun:
                assert begun.status in (200, 500)
            async with session.get(f"{base}/10001/status/current") as current:
                if (await current.json())["data"]["status"] == "running":
                    return
            await asyncio.sleep(0.05)
    pytest.fail("the guest never ran")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_with_its_guests_and_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    env_file = tmp_path / "devnet.env"
    async with started("--env-file", str(env_file)) as process:
        settings = await settings_of(env_file)
        await start_a_guest(settings)
        children = psutil.Process(process.pid).children(recursive=True)

        process.send_signal(number)
        output, errors = await process.communicate()

    assert (process.returncode, errors.decode()) == (0, "")
    assert children
    assert not [child for child in children if child.is_running()]
    assert not is_there(env_file)
    assert not is_there(Path(settings["DATABASE_URL"].removeprefix("sqlite:///")).parent.parent)
    for name in ("PVE_TOKEN_SECRET", "DEVNET_TENANT_KEY"):
        assert settings[name] not in output.decode()


async def test_it_says_where_everything_is(tmp_path: Path) -> None:
    env_file = tmp_path / "devnet.env"
    async with started("--env-file", str(env_file)) as process:
        settings = await settings_of(env_file)
        process.send_signal(signal.SIGTERM)
        output = (await process.communicate())[0].decode()

    for name in ("PVE_HOST", "RPC_URL", "FACILITATOR_URL", "PAY_TO"):
        assert settings[name] in output
    assert f"pve402 serve --env-file {env_file}" in output


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    async with started("--env-file", str(tmp_path / "one.env")) as first:
        settings = await settings_of(tmp_path / "one.env")
        port = settings["RPC_URL"].rpartition(":")[2]
        async with started("--chain-port", port) as second:
            _, errors = await second.communicate()
        first.send_signal(signal.SIGTERM)
        await first.communicate()

    assert second.returncode == 1
    assert "address already in use" in errors.decode()
