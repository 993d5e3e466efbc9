"""The Python SDK against a running service: one box, everything that one does with it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from tests.support import pages, port_names
from tests.support.port_names import Port
from tests.support.processes import ServeProcess

import pve402
from pve402 import client, schemas
from pve402.client import refusals

PRICE_USD = "0.05"


@pytest.fixture(scope="module")
def key(service: ServeProcess) -> str:
    """The key of a wallet with money."""
    return f"0x{service.devnet.wallet(1_000_000).key.hex()}"


@pytest.fixture(scope="module")
def box(service: ServeProcess, key: str) -> Iterator[pve402.Box]:
    """A box for the tests of this module."""
    with pve402.Box.lease(
        service.url,
        key=key,
        minutes=10,
        max_usd=PRICE_USD,
        hostname="sdk",
        env={"STAGE": "it's new"},
        user_data='echo "$STAGE" >/root/stage\necho done; exit 3\n',
    ) as made:
        yield made


def test_a_new_box_has_its_variables_and_ran_its_script_once(box: pve402.Box) -> None:
    for _ in range(300):
        outcome = box.user_data()
        if outcome.state not in {"pending", "running"}:
            break
        time.sleep(0.1)

    assert (outcome.state, outcome.exit_code, outcome.output) == ("exited", 3, "done\n")
    assert box.run("cat /root/stage; echo $STAGE").stdout == "it's new\nit's new\n"
    assert box.run("echo $STAGE", env={"STAGE": "own"}).stdout == "own\n"
    assert not [one for one in box.commands() if one.detached]


def test_a_command_runs_to_its_end(box: pve402.Box) -> None:
    done = box.run("echo $WHAT; cat; pwd >&2; exit 3", env={"WHAT": "it"}, stdin=b"in", cwd="/srv")

    assert (done.stdout, done.stderr, done.exit_code) == ("it\nin", "/srv\n", 3)
    assert box.run(["echo", "$HOME"]).stdout == "$HOME\n"
    with pytest.raises(pve402.CommandFailed, match="ended with 3: no luck"):
        box.run("echo no luck >&2; exit 3", check=True)


def test_output_and_stdin_are_streamed(box: pve402.Box) -> None:
    with box.stream("while read line; do echo got $line; done; exit 4") as stream:
        stream.write(b"one\n")
        output = stream.output()
        assert next(output).data == b"got one\n"
        stream.write(b"two\n")
        stream.end_input()
        assert b"".join(piece.data for piece in output) == b"got two\n"
    assert stream.exit_code == 4


def test_a_shell_has_a_terminal(box: pve402.Box) -> None:
    with box.shell(columns=100, rows=30) as shell:
        shell.write(b"tty -s && stty size; exit\n")
        shown = b"".join(piece.data for piece in shell.output())

    assert b"30 100" in shown


def test_a_detached_command_is_come_back_to(box: pve402.Box, service: ServeProcess) -> None:
    started = box.spawn("read line; echo $line; echo end >&2; exit 5", open_stdin=True)

    with pve402.Box.connect(service.url, box.lease_id, token=box.token) as again:
        assert started.exec_id in {each.exec_id for each in again.commands()}
        command = again.command(started.exec_id)
        command.write(b"hello\n")
        pieces = [(piece.stream, piece.data) for piece in command.output()]
        ended = command.wait()

    assert sorted(pieces) == [("stderr", b"end\n"), ("stdout", b"hello\n")]
    assert (ended.stdout, ended.exit_code, ended.state) == ("hello\n", 5, "exited")
    started.remove()
    with pytest.raises(refusals.ExecNotFound):
        box.command(started.exec_id)


def test_files_and_folders(box: pve402.Box, tmp_path: Path) -> None:
    (tmp_path / "site" / "sub").mkdir(parents=True)
    (tmp_path / "site" / "sub" / "page").write_bytes(b"\0page")
    odd = os.fsdecode(b"/srv/sdk/\xff & odd")

    box.files.make_folder("/srv/sdk")
    box.files.upload(tmp_path / "site", "/srv/sdk/site")
    box.files.write("/srv/sdk/\u00fc & \u20ac", "text", mode=0o600)
    box.files.move("/srv/sdk/\u00fc & \u20ac", odd)
    box.files.move("/srv/sdk/site/sub/page", "/srv/sdk/page")
    box.files.download("/srv/sdk", tmp_path / "home")
    box.files.download("/srv/sdk/page", tmp_path)

    assert box.files.stat(odd).mode == "0600"
    assert {entry.path for entry in box.files.list("/srv/sdk")} == {
        odd,
        "/srv/sdk/page",
        "/srv/sdk/site",
    }
    assert (tmp_path / "home" / "page").read_bytes() == b"\0page"
    assert (tmp_path / "home" / odd.rpartition("/")[2]).read_text() == "text"
    assert (tmp_path / "page").read_bytes() == b"\0page"
    box.files.remove("/srv/sdk", recursive=True)
    assert not box.files.exists("/srv/sdk")
    with pytest.raises(refusals.FileMissing):
        box.files.read("/srv/sdk/page")


def test_the_lease_is_renewed_and_the_token_alone_opens_it(
    box: pve402.Box, service: ServeProcess
) -> None:
    before = box.expires_at

    box.renew(5, max_usd=PRICE_USD)

    assert before
    assert box.expires_at
    assert (box.expires_at - before).total_seconds() == 300
    assert _shown(service, box).status_code == 200
    assert box.token not in repr(box)
    with pytest.raises(pve402.OverCap):
        box.renew(60, max_usd="0.000001")


def test_a_box_is_stopped_and_started(box: pve402.Box) -> None:
    box.stop()
    with pytest.raises(refusals.GuestNotRunning):
        box.run("true")

    box.start()
    box.wait_for_network()

    assert box.seen.status == "active"
    assert box.run(["echo", "back"]).stdout == "back\n"


def test_a_box_is_kept_alive_within_its_budget(service: ServeProcess, key: str) -> None:
    with pve402.Box.lease(service.url, key=key, minutes=1) as box:
        first = box.expires_at
        keeping = box.keep_alive(max_usd=PRICE_USD, minutes=5)
        _until(lambda: keeping.renewals == 1)
        box.let_expire()

        assert first
        assert box.show().expires_at == box.expires_at
        assert box.expires_at
        assert (box.expires_at - first).total_seconds() == 300
        assert 0 < keeping.spent_usd <= keeping.max_usd


def test_a_box_ends_with_its_block(service: ServeProcess, key: str) -> None:
    with pytest.raises(ZeroDivisionError), pve402.Box.lease(service.url, key=key, minutes=5) as box:
        _ = 1 / 0

    answer = _shown(service, box)
    assert answer.status_code == 410 or answer.json()["status"] in {"stopping", "ended"}


def test_a_lease_whose_answer_was_lost_is_paid_once(service: ServeProcess) -> None:
    wallet, once = service.devnet.wallet(1_000_000), secrets.token_urlsafe(24)
    key = f"0x{wallet.key.hex()}"

    first = pve402.Box.lease(service.url, key=key, minutes=5, idempotency_key=once)
    first.close()
    with pve402.Box.lease(service.url, key=key, minutes=5, idempotency_key=once) as again:
        assert (again.lease_id, again.token) == (first.lease_id, first.token)
        assert again.run(["echo", "here"]).stdout == "here\n"
        paid = again.seen

    assert isinstance(paid, schemas.LeaseAnswer)
    assert service.devnet.usdc(wallet.address) == 1_000_000 - int(paid.amount)


INTERRUPTED = """
import sys, pve402
with pve402.Box.lease(sys.argv[1], minutes=5) as box:
    print(box.lease_id, box.token, flush=True)
    box.run("sleep 300")
"""


def test_an_interrupted_program_ends_its_lease(service: ServeProcess, key: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, service.url],
        env={**os.environ, "PVE402_WALLET_KEY": key},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout
    lease_id, token = program.stdout.readline().split()
    with pve402.Box.connect(service.url, lease_id, token=token) as box:
        _until(box.commands)

    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=60)

    assert program.returncode == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert lease_id not in asyncio.run(_current_leases(service.url, key, by="lease_id"))


async def test_the_same_works_with_asyncio(service: ServeProcess, key: str) -> None:
    async with pve402.AsyncBox.lease(service.url, key=key, minutes=5) as box:
        done = await asyncio.gather(*(box.run(["echo", str(number)]) for number in range(3)))
        assert [each.stdout for each in done] == ["0\n", "1\n", "2\n"]

    assert box.seen.status in {"ended", "stopping"}


EXAMPLES = [it for it in pages.examples("python") if it.page == Path("docs/how-to/python.md")]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_guides_examples_run(
    example: pages.Example,
    service: ServeProcess,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each prints, brings home or ends with what it says, and leaves no lease behind."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "build.sh").write_text("mkdir dist && echo built > dist/artefact\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PVE402_WALLET_KEY", key)
    monkeypatch.setattr(sys, "argv", ["job.py", "sh", "-c", "ls project; exit 3"])
    program = example.text.replace("https://rent.example.com", service.url)

    with pytest.raises(SystemExit) if "sys.exit" in program else nullcontext() as ended:
        exec(compile(program, str(example), "exec"), {})

    artefact = tmp_path / "dist" / "artefact"
    said = artefact.read_text() if artefact.exists() else capsys.readouterr().out
    assert said.strip() in SAID
    assert ended is None or ended.value.code == 3
    assert asyncio.run(_current_leases(service.url, key)) <= {"sdk"}


SAID = {"Linux", "built", "build.sh", "step 1\nstep 2\nstep 3", "ports_off"}


def test_the_guide_has_an_example_of_each() -> None:
    assert len(EXAMPLES) == len(SAID)


async def _current_leases(url: str, key: str, by: str = "hostname") -> set[str]:
    """The host names of the wallet's leases that are not over."""
    async with client.Client(url, key=key) as tenant:
        return {getattr(it, by) for it in await tenant.leases() if it.status == "active"}


def _shown(service: ServeProcess, box: pve402.Box) -> requests.Response:
    """What the service says of a lease to its token."""
    bearer = {"Authorization": f"Bearer {box.token}"}
    return requests.get(f"{service.url}/lease/{box.lease_id}", headers=bearer, timeout=30)


def _until(is_true: Any) -> None:
    for _ in range(300):
        if is_true():
            return
        asyncio.run(asyncio.sleep(0.1))
    pytest.fail("it did not come true")


def test_a_port_gets_an_address_and_gives_it_back(named: Port) -> None:
    container = port_names.serve(named.container, 9100).container
    url, lease = container.service.url, container.lease_id
    with pve402.Box.connect(url, lease, token=container.token) as box:
        published = box.ports.publish(9100, public=True)
        name = {"Host": urlsplit(published.url).netloc}
        answered = requests.get(f"{url}/echo/", headers=name, timeout=30)
        listed = {item.port: item.access for item in box.ports.show()}
        login = box.ports.login(8080)
        box.ports.unpublish(9100)

        assert name["Host"].startswith(f"9100-{lease}.")
        assert (answered.status_code, listed[9100], listed[8080]) == (200, "public", "private")
        assert urlsplit(login.url).netloc.startswith(f"8080-{lease}.")
        assert requests.get(f"{url}/echo/", headers=name, timeout=30).status_code == 404
