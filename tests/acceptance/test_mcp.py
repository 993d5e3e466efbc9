"""`pve402 mcp` against a running service, by the official MCP client over stdio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support import mcp_clients, pages, pausing, processes
from tests.support.mcp_clients import Agent
from tests.support.processes import DevnetProcess, ServeProcess

from pve402 import client, schemas
from pve402.client import ledger, spending

GUIDE = Path("docs/how-to/mcp.md")


@pytest.fixture(scope="module")
def key(service: ServeProcess) -> str:
    """The key of a wallet with money."""
    return f"0x{service.devnet.wallet(1_000_000).key.hex()}"


@pytest.fixture(scope="module")
def offering(
    devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server that copies and saves containers, and lets them pause."""
    folder = tmp_path_factory.mktemp("offering")
    catalogue = pausing.write_catalogue(folder, 'image_gb_usd_minute = "0.00004"')
    settings = {"PVE402_CATALOGUE": str(catalogue), "PVE402_FORKS": "2", "PVE402_SNAPSHOTS": "2"}
    with processes.serving(folder, devnet, **settings) as made:
        yield made


async def test_an_agent_rents_a_box_works_in_it_and_ends_it(
    service: ServeProcess, key: str, tmp_path: Path
) -> None:
    async with mcp_clients.agent(service.url, tmp_path, key=key) as agent:
        price = await agent.call("quote", minutes=10)
        bought = await agent.call("lease", name="built", minutes=10, max_usd=0.05)
        lease = bought["lease"]["lease_id"]
        ran = await agent.call("run", lease="built", command="echo out; echo err >&2; exit 3")
        await agent.call("write_file", lease=lease, path="/srv/note", content="gr\u00fc\u00df\n")
        read = await agent.call("read_file", lease=lease, path="/srv/note")
        renewed = await agent.call("renew", lease=lease, minutes=5, max_usd=0.05)
        listed = await agent.call("list_leases")
        taken = await agent.refused("lease", name="built", minutes=10)
        ended = await agent.call("end", lease=lease)

    assert bought["state"] == renewed["state"] == "done"
    assert float(bought["paid_usd"]) == float(price["price_usd"]) > 0
    paid = float(bought["paid_usd"]) + float(renewed["paid_usd"])
    assert float(ended["spent"]["in_all_usd"]) == pytest.approx(paid)
    assert (ran["state"], ran["exit_code"]) == ("exited", 3)
    assert ran["from_container"] == {"stdout": "out\n", "stderr": "err\n"}
    assert (read["from_container"], read["next_offset"]) == ("gr\u00fc\u00df\n", None)
    assert 10 < _of(listed, lease)["minutes_left"] <= 15
    assert taken["error"] == "name_taken"
    assert ended["status"] in {"stopping", "ended"}
    assert agent.log.read_text() == ""
    _check_no_secrets(agent, service.url, tmp_path, key)


async def test_what_is_inside(service: ServeProcess, key: str, tmp_path: Path) -> None:
    async with mcp_clients.agent(service.url, tmp_path, key=key) as agent:
        await agent.call("lease", name="box", minutes=10)
        await _check_commands(agent)
        await _check_files(agent)
        await agent.call("end", lease="box")


async def _check_commands(agent: Agent) -> None:
    """What takes longer, or is longer than an answer, is come back to."""
    going = await agent.call(
        "run", lease="box", command="echo begun; sleep 600; echo over", wait_seconds=1
    )
    again = going
    while not again["from_container"]["stdout"]:
        again = await agent.call("check_command", lease="box", exec_id=going["exec_id"])
    stopped = await agent.call("stop_command", lease="box", exec_id=going["exec_id"])
    long = await agent.call("run", lease="box", command="seq 1 9999", max_bytes=1000)
    rest = await agent.call(
        "check_command", lease="box", exec_id=long["exec_id"], stdout_from=500, max_bytes=40_000
    )
    commands = await agent.call("list_commands", lease="box")
    unknown = await agent.refused("check_command", lease="box", exec_id="e" + "0" * 24)

    assert going["state"] == "running"
    assert "check_command" in going["next"]
    assert (again["state"], again["exit_code"]) == ("running", None)
    assert again["from_container"]["stdout"] == "begun\n"
    assert stopped["state"] == "exited"
    whole = "".join(f"{number}\n" for number in range(1, 10_000))
    assert long["stdout_bytes"] == len(whole) == 48_888
    assert long["left_out_bytes"] == len(whole) - 1000
    assert long["from_container"]["stdout"].startswith("1\n2\n")
    assert long["from_container"]["stdout"].endswith("9998\n9999\n")
    assert rest["from_container"]["stdout"].startswith(whole[500:40_500])
    assert {line.split()[0] for line in commands["commands"]} == {
        going["exec_id"],
        long["exec_id"],
    }
    assert any(line.endswith(" exited 0") for line in commands["commands"])
    assert unknown["error"] == "exec_not_found"


async def _check_files(agent: Agent) -> None:
    """Files are read in parts, and as they are."""
    text = "\u00fc" * 300 + "\n"
    await agent.call("write_file", lease="box", path="/srv/f", content=text, mode="0600")
    first = await agent.call("read_file", lease="box", path="/srv/f", max_bytes=201)
    rest = await agent.call("read_file", lease="box", path="/srv/f", offset=200)
    await agent.call("write_file", lease="box", path="/srv/b", content="AP8=", encoding="base64")
    binary = await agent.refused("read_file", lease="box", path="/srv/b")
    exact = await agent.call("read_file", lease="box", path="/srv/b", encoding="base64")
    hidden = await agent.call(
        "run", lease="box", command=r"printf 'a\033[8mb\342\200\256c' | tee /srv/h"
    )
    shown = await agent.call("read_file", lease="box", path="/srv/h")
    folder = await agent.call("list_files", lease="box", path="/srv")
    missing = await agent.refused("read_file", lease="box", path="/srv/none")

    assert (first["from_container"], first["next_offset"]) == ("\u00fc" * 100, 200)
    assert (first["size_bytes"], rest["next_offset"]) == (601, None)
    assert first["from_container"] + rest["from_container"] == text
    assert binary["error"] == "not_text"
    assert exact["from_container"] == "AP8="
    assert hidden["from_container"]["stdout"] == "ab\ufffdc"
    assert shown["replaced_characters"] == 2
    assert {one["path"]: one["mode"] for one in folder["from_container"]}["/srv/f"] == "0600"
    assert missing["error"] == "file_missing"
    assert "list_files" in missing["next"]


async def test_a_box_is_changed_copied_saved_and_made_anew(
    offering: ServeProcess, tmp_path: Path
) -> None:
    wallet = offering.devnet.wallet(1_000_000)
    small = {"minutes": 10, "memory_mb": 256, "disk_gb": 2}
    copies = {"lease": "first", "name": "copy", "minutes": 5, "count": 2}
    async with mcp_clients.agent(offering.url, tmp_path, key=f"0x{wallet.key.hex()}") as agent:
        await agent.call("lease", name="first", **small)
        await agent.call("write_file", lease="first", path="/root/note", content="kept")
        await _check_changes(agent)

        dear = await agent.refused("fork", **copies, max_usd=0)
        forked = await agent.call("fork", **copies)
        repeated = await agent.refused("fork", **copies)
        saved = await _when_idle(agent, "save_image", lease="first", name="tools", minutes=60)
        template = saved["image"]["template"]
        kept = await agent.call("renew", lease=template, minutes=60)
        listed = await agent.call("list_images")
        again = await agent.call("lease", name="again", template=template, **small)
        deleted = await agent.call("delete_image", image="tools")

        await _when_idle(agent, "power", lease="first", action="start")
        anew = await _when_idle(agent, "reinstall", lease="first")
        notes = {
            name: (await agent.call("run", lease=name, command="cat /root/note"))["exit_code"]
            for name in ("first", "copy", "copy-2", "again")
        }
        for name in notes:
            ended = await agent.call("end", lease=name)

    assert "the price is 0.00" in dear["message"]
    assert [one["name"] for one in forked["copies"]] == ["copy", "copy-2"]
    assert repeated["error"] == "name_taken"
    assert [one["template"] for one in listed["images"]] == [template]
    assert listed["images"][0]["expires_at"] > saved["image"]["expires_at"]
    assert deleted["image"]["name"] == "tools"
    assert anew["state"] == "done"
    assert notes == {"first": 1, "copy": 0, "copy-2": 0, "again": 0}
    assert all(float(one["paid_usd"]) > 0 for one in (forked, saved, kept, again))
    paid = 1_000_000 - offering.devnet.usdc(wallet.address)
    assert round(float(ended["spent"]["in_all_usd"]) * 1_000_000) == paid


async def _check_changes(agent: Agent) -> None:
    """What a box is, and what its storage cannot do; it is stopped afterwards."""
    no_room = await agent.refused("take_snapshot", lease="first", snapshot="before")
    none = await agent.call("list_snapshots", lease="first")
    runs = await agent.refused("fork", lease="first", name="copy", minutes=5)
    resized = await agent.call("resize", lease="first", cores=2)
    paused = await agent.call("power", lease="first", action="pause")
    asleep = await agent.refused("run", lease="first", command="true")
    await agent.call("power", lease="first", action="start")
    stopped = await agent.call("power", lease="first", action="stop")

    assert (none["snapshots"], none["at_most"], none["possible"]) == ([], 2, False)
    assert no_room["error"] == "snapshots_not_possible"
    assert "Do not try again" in no_room["next"]
    assert (runs["error"], "`power`" in runs["next"]) == ("fork_needs_stop", True)
    assert (resized["state"], resized["after"]["cores"]) == ("done", 2)
    assert [one["lease"]["guest"] for one in (paused, stopped)] == ["paused", "stopped"]
    assert (asleep["error"], "`power`" in asleep["next"]) == ("guest_not_running", True)


async def test_a_lease_outlives_its_agent_and_needs_no_wallet_then(
    service: ServeProcess, key: str, tmp_path: Path
) -> None:
    async with mcp_clients.agent(service.url, tmp_path, key=key, mode="legacy") as agent:
        await agent.call("lease", name="stays", minutes=10)
        going = await agent.call("run", lease="stays", command="sleep 600", wait_seconds=1)

    async with mcp_clients.agent(service.url, tmp_path, mode="legacy") as later:
        listed = await later.call("list_leases")
        again = await later.call("list_commands", lease="stays")
        unpaid = await later.refused("renew", lease="stays", minutes=5)
        await later.call("end", lease="stays")

    assert [one["name"] for one in listed["leases"]] == ["stays"]
    assert again["commands"][0].startswith(going["exec_id"])
    assert unpaid["error"] == "key_needed"


async def test_two_agents_cannot_spend_a_budget_twice(
    service: ServeProcess, tmp_path: Path
) -> None:
    wallet = service.devnet.wallet(1_000_000)
    wanted = {"key": f"0x{wallet.key.hex()}"}
    async with client.Client(service.url) as tenant:
        wish = schemas.LeaseRequest(sku="standard-lxc", runtime_minutes=10, password="quote-only")
        price = float(client.prices.offered_usd(await tenant.quote(wish)))
    limit = ("--max-usd-per-hour", f"{price * 2.5:.6f}")
    async with (
        mcp_clients.agent(service.url, tmp_path, *limit, **wanted) as one,
        mcp_clients.agent(service.url, tmp_path, *limit, **wanted) as other,
    ):
        same = await asyncio.gather(
            *(each.call("lease", name="same", minutes=10) for each in (one, other))
        )
        results = await asyncio.gather(
            one.result("lease", name="one", minutes=10),
            other.result("lease", name="other", minutes=10),
        )

    assert same[0]["lease"]["lease_id"] == same[1]["lease"]["lease_id"]
    assert sorted(result.is_error for result in results) == [False, True]
    failed = next(result for result in results if result.is_error)
    assert '"over_limit"' in failed.model_dump_json().replace("\\", "")
    paid = 1_000_000 - service.devnet.usdc(wallet.address)
    assert paid == 2 * round(price * 1_000_000)


async def test_an_agent_that_is_killed_while_it_pays_pays_once(
    service: ServeProcess, tmp_path: Path
) -> None:
    wallet = service.devnet.wallet(1_000_000)
    wanted = {"key": f"0x{wallet.key.hex()}"}
    book = ledger.Ledger(tmp_path / ".local" / "state" / "pve402" / "spending.sqlite3")
    with contextlib.suppress(Exception):
        async with mcp_clients.agent(service.url, tmp_path, **wanted) as agent:
            calling = asyncio.create_task(agent.result("lease", name="once", minutes=10))
            await _until(lambda: bool(book.payments([spending.State.SENT])))
            _kill_servers()
            await calling

    async with mcp_clients.agent(service.url, tmp_path, **wanted) as later:
        known = await later.call("list_leases")
        bought = await later.call("lease", name="once", minutes=10)

    assert known["open_orders"] == ["lease:once"]
    assert "interrupted" in bought["note"]
    paid = round(float(bought["paid_usd"]) * 1_000_000)
    assert service.devnet.usdc(wallet.address) == 1_000_000 - paid
    assert len(book.payments()) == 1


@pytest.mark.parametrize("by", [None, signal.SIGINT])
def test_end_of_file_and_signals_end_it(
    service: ServeProcess, tmp_path: Path, by: signal.Signals | None
) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pve402", "mcp", "--url", service.url],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(hello) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())

    if by is not None:
        process.send_signal(by)
        assert process.wait(60) == 128 + by
    printed, said = process.communicate(timeout=60)

    assert process.returncode == (0 if by is None else 128 + by)
    assert answer["result"]["serverInfo"]["name"] == "pve402"
    assert "data: never" in answer["result"]["instructions"].replace("\n", " ")
    assert printed == ""
    assert said.splitlines() == [
        "pve402: there is no wallet for this service yet; `pve402 login URL` names one"
    ]


def test_the_guides_configuration_is_what_is_printed(key: str, tmp_path: Path) -> None:
    (shown,) = [it for it in pages.examples("json") if it.page == GUIDE]

    done = processes.run(
        *("mcp", "--config", "cursor", "--url", "https://rent.example.com"),
        XDG_CONFIG_HOME=str(tmp_path),
        PVE402_WALLET_KEY=key,
    )

    printed = json.loads(done.stdout)["mcpServers"]["pve402"]
    documented = json.loads(shown.text)["mcpServers"]["pve402"]
    assert printed["args"][-len(documented["args"]) :] == documented["args"]
    assert key[2:] not in done.stdout + done.stderr
    assert "put this into ~/.cursor/mcp.json" in done.stderr
    assert "run `pve402 login https://rent.example.com` first" in done.stderr


def test_the_guides_program_runs(service: ServeProcess, key: str, tmp_path: Path) -> None:
    (program,) = [it for it in pages.examples("python") if it.page == GUIDE]
    login = subprocess.run(
        [sys.executable, "-m", "pve402", "login", service.url, "--key-file", "-"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        input=key,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert login.returncode == 0, login.stderr

    done = subprocess.run(
        [sys.executable, "-c", program.text],
        env={
            "HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert (done.stdout.strip(), done.returncode) == ("0 Linux", 0), done.stderr


def _of(listed: dict[str, Any], lease_id: str) -> dict[str, Any]:
    return next(one for one in listed["leases"] if one["lease_id"] == lease_id)


def _check_no_secrets(agent: Agent, url: str, home: Path, key: str) -> None:
    """No answer holds the key or a lease's token, of which one was kept and forgotten."""
    heard = "".join(agent.heard)
    kept = client.held.Leases(home / ".local" / "state" / "pve402" / "leases.sqlite3").of(url)
    assert kept == []
    assert key[2:] not in heard
    assert "accessToken" not in heard
    assert "access_token" not in heard


def _kill_servers() -> None:
    for child in psutil.Process().children(recursive=True):
        if "mcp" in child.cmdline():
            child.kill()


async def _when_idle(agent: Agent, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool once what was done before has let go of the box."""
    for _ in range(300):
        result = await agent.result(tool, **arguments)
        if "lease_busy" not in result.model_dump_json():
            break
        await asyncio.sleep(0.2)
    assert not result.is_error, result.content
    return dict(result.structured_content or {})


async def _until(is_true: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if is_true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come true")
