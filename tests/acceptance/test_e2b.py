"""The gateway for E2B's SDKs, as the command beside a running service; their money is real here."""

from __future__ import annotations

import concurrent.futures
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.support import e2b_gateway, pages, processes
from tests.support.e2b_gateway import Command
from tests.support.processes import ServeProcess

from pve402.client import ledger, spending

GUIDE = "docs/how-to/e2b.md"


@pytest.fixture(scope="module")
def key(service: ServeProcess) -> str:
    """The key of a wallet with money."""
    return f"0x{service.devnet.wallet(2_000_000).key.hex()}"


@pytest.fixture(scope="module")
def gateway(
    service: ServeProcess, key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    """A gateway with a budget."""
    folder = tmp_path_factory.mktemp("e2b")
    options = ("--budget-usd", "1", "--publish", "8080")  # this service publishes no ports
    with e2b_gateway.command(service, folder, *options, key=key) as made:
        yield made


def test_the_quickstart_runs_with_e2bs_own_sdk(gateway: Command) -> None:
    (example,) = [it.text for it in pages.examples("python") if it.page == Path(GUIDE)]

    done = gateway.program(example)

    assert done.stdout == "hello from Linux\n\n", done.stderr
    assert gateway.ask("GET", "/v2/sandboxes").json() == []


def test_commands_files_and_terminals(gateway: Command) -> None:
    """What the suites of E2B try in depth; see tests/conformance."""
    done = gateway.program(
        """
from e2b import NotFoundException, PtySize, Sandbox, TimeoutException
with Sandbox.create(timeout=600, envs={"A": "b"}, metadata={"m": "n"}) as box:
    assert box.commands.run("echo $A $(id -un) $PWD").stdout == "b user /home/user\\n"
    as_root = box.commands.run("sudo id -u; sudo -u user id -un; sudo A=b sh -c 'echo $A'")
    assert as_root.stdout == "0\\nuser\\nb\\n"
    assert box.commands.run("sudo -n env", envs={"SECRET": "x"}).stdout.count("SECRET") == 0
    cat = box.commands.run("cat", background=True, stdin=True)
    cat.send_stdin("in")
    cat.close_stdin()
    assert cat.wait().stdout == "in"
    sleep = box.commands.run("sleep 60", background=True)
    assert [it.pid for it in box.commands.list()] == [sleep.pid]
    assert box.commands.kill(sleep.pid) and not box.commands.kill(sleep.pid)
    try:
        box.commands.run("sleep 60", timeout=1)
    except TimeoutException:
        pass
    box.files.write("a/b \\u00fc", b"x" * 700_000)
    assert box.files.read("a/b \\u00fc", format="bytes") == b"x" * 700_000
    assert [it.path for it in box.files.list("/home/user/a")] == ["/home/user/a/b \\u00fc"]
    seen = []
    pty = box.pty.create(PtySize(rows=30, cols=100))
    box.pty.send_stdin(pty.pid, b"stty size; exit 3\\n")
    try:
        pty.wait(on_pty=seen.append)
    except Exception as ended:
        assert ended.exit_code == 3
    assert b"30 100" in b"".join(seen)
    assert Sandbox.list().next_items()[0].metadata == {"m": "n"}
    box.set_timeout(300)
    left = box.commands.run("sleep 60", background=True)
    box.kill()
    try:
        left.wait()
    except TimeoutException as ended:
        assert "was killed" in str(ended)
    assert not box.is_running()
print("all")
"""
    )

    assert done.stdout == "all\n", done.stderr


def test_a_published_port_has_a_working_name(naming: ServeProcess, tmp_path: Path) -> None:
    own = f"0x{naming.devnet.wallet(1_000_000).key.hex()}"
    with e2b_gateway.command(naming, tmp_path, "--publish", "8080", key=own) as gateway:
        done = gateway.program(
            """
import sys, time, urllib.request
from e2b import Sandbox
with Sandbox.create(timeout=600) as box:
    box.files.write("index.html", "a page")
    box.commands.run("python3 -u -m http.server 8080 --bind 127.0.0.1 2>&1", background=True)
    box.commands.run("until (echo > /dev/tcp/127.0.0.1/8080) 2>/dev/null; do :; done")
    ask = urllib.request.Request(sys.argv[1], headers={"Host": box.get_host(8080)})
    print(urllib.request.urlopen(ask).read().decode(), box.get_host(8080).partition(".")[2])
""",
            naming.url,
        )

    assert done.stdout == f"a page ports.localhost:{naming.url.rpartition(':')[2]}\n", done.stderr


def test_one_idempotency_key_buys_one_sandbox(gateway: Command, service: ServeProcess) -> None:
    headers = {"Idempotency-Key": "twice"}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        call: dict[str, Any] = {"json": {"timeout": 300}, "headers": headers}
        made = [pool.submit(gateway.ask, "POST", "/v2/sandboxes", **call) for _ in range(3)]
        names = {each.result().json()["sandboxID"] for each in made}

    assert len(names) == 1
    assert "port 8080 is not published" in gateway.process.said()
    assert gateway.ask("DELETE", f"/sandboxes/{names.pop()}").status_code == 204


def test_a_gateway_that_is_killed_while_it_pays_buys_nothing_twice(
    service: ServeProcess, tmp_path: Path
) -> None:
    account = service.devnet.wallet(1_000_000)
    call: dict[str, Any] = {"json": {"timeout": 600}, "headers": {"Idempotency-Key": "once"}}
    with (
        e2b_gateway.command(service, tmp_path, key=f"0x{account.key.hex()}") as first,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        lost = pool.submit(first.ask, "POST", "/v2/sandboxes", **call)
        book = ledger.Ledger(tmp_path / "pve402/spending.sqlite3")
        processes.wait_until(lambda: bool(book.payments()), first.process, "paying")
        first.process.end(signal.SIGKILL)
        assert isinstance(lost.exception(), requests.ConnectionError)
    with e2b_gateway.command(service, tmp_path, key=f"0x{account.key.hex()}") as again:
        made = again.ask("POST", "/v2/sandboxes", **call)

        assert made.status_code == 201, made.text
        sandboxes = [one["sandboxID"] for one in again.ask("GET", "/v2/sandboxes").json()]
        assert sandboxes == [made.json()["sandboxID"]]
    paid = [payment.amount_atomic for payment in book.payments([spending.State.SETTLED])]
    assert service.devnet.usdc(account.address) == 1_000_000 - sum(paid)
    assert len(paid) == 1


def test_two_programs_cannot_spend_one_budget_twice(service: ServeProcess, tmp_path: Path) -> None:
    """A minute costs 0.00233 USD, so the budget is enough for one sandbox."""
    account = service.devnet.wallet(1_000_000)
    options = ("--budget-usd", "0.004")
    with (
        e2b_gateway.command(service, tmp_path, *options, key=f"0x{account.key.hex()}") as poor,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        asked = [
            pool.submit(poor.ask, "POST", "/v2/sandboxes", json={"timeout": 60}) for _ in range(2)
        ]
        refused, made = sorted((one.result() for one in asked), key=lambda it: -it.status_code)
        name = made.json()["sandboxID"]
        longer = poor.ask("POST", f"/sandboxes/{name}/timeout", json={"timeout": 3600})

    assert (made.status_code, refused.status_code, longer.status_code) == (201, 402, 402)
    assert "0.004" in refused.json()["message"]
    assert service.devnet.usdc(account.address) == 1_000_000 - 2_330


def test_a_sandbox_survives_a_restart_and_ends_when_its_timeout_is_over(
    service: ServeProcess, key: str, tmp_path: Path
) -> None:
    with e2b_gateway.command(service, tmp_path, key=key) as first:
        made = first.ask("POST", "/v2/sandboxes", json={"timeout": 600}).json()
        first.process.end(signal.SIGKILL)
    with e2b_gateway.command(service, tmp_path, key=key) as again:
        name = made["sandboxID"]
        inside = {"E2b-Sandbox-Id": name, "X-Access-Token": made["envdAccessToken"]}
        health = f"{again.url}/health"
        assert requests.get(health, headers=inside, timeout=60).status_code == 204

        shortened = again.ask("POST", f"/sandboxes/{name}/timeout", json={"timeout": 1})

        assert shortened.status_code == 204
        give_up_at = time.monotonic() + 60
        while again.ask("GET", f"/sandboxes/{name}").status_code != 404:
            assert time.monotonic() < give_up_at
        assert requests.get(health, headers=inside, timeout=60).status_code == 502
