"""Names that a hostile service gives leases: none becomes an option, a line or a command here."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support import tenant_service
from tests.support.tenant_service import ITEM, LEASE, LEASE_ID
from typer.testing import CliRunner

from pve402 import schemas
from pve402.cli import purchases, reach

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKn8H7M6y8bTqkB8nYF6xk3m1cX0J7m5vQ0kqk9d2v"
KEYS = {"leaseId": LEASE_ID, "keys": [], "hostKeys": [HOST_KEY]}
NO_LEASE_IDS = [
    "x\n  ProxyCommand touch /tmp/owned",
    "l0\nHost *",
    "*",
    "",
    "x; rm -rf ~",
    "$(id)",
    "-oProxyCommand=id",
    "l" + "0" * 25 + "\n",
    "L" + "0" * 25,
    "l" + "0" * 5000,
    "\u202el" + "0" * 25,
]
NO_HOST_NAMES = [
    "web\n  ProxyCommand touch /tmp/owned",
    "web\r\nMatch all",
    "*",
    "web *",
    "!web",
    "web,*",
    '"web',
    "we?",
    "-web",
    "",
    "w" * 5000,
    "\u202eweb",
]


class _Service:
    """Answers about one lease, in a thread of its own: the commands run loops of their own."""

    url = ""

    def __init__(self) -> None:
        self.lease: dict[str, Any] = ITEM

    async def handle(self, request: Any) -> Any:
        document = KEYS if request.path.startswith("/management/keys") else self.lease
        return await tenant_service.says(document)(request)


@pytest.fixture(scope="module")
def service() -> Iterator[_Service]:
    made, is_up, is_over = _Service(), threading.Event(), threading.Event()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            serving = tenant_service.serving(made.handle)
            made.url = (await stack.enter_async_context(serving)).url
            is_up.set()
            await asyncio.to_thread(is_over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    is_up.wait()
    yield made
    is_over.set()
    thread.join()


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    private = tmp_path_factory.mktemp("keys") / "id"
    private.with_name("id.pub").write_text(f"{HOST_KEY} me\n")
    return private


@pytest.fixture
def printed(service: _Service, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `ssh-config` for a lease and return its exit code and what it printed."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PVE402_TOKEN", "t" * 20)

    app = typer.Typer()
    reach.add_to(app)

    def run(**lease: str) -> tuple[int, str]:
        service.lease = {**ITEM, **lease}
        words = ["ssh-config", LEASE_ID, "--url", service.url]
        done = CliRunner().invoke(app, [*words, "--identity", str(identity)])
        return done.exit_code, done.stdout

    return run


def test_a_stanza_is_for_the_host_name_and_the_lease(printed) -> None:
    code, shown = printed(hostname="Web-1.example")

    assert code == 0
    assert shown.splitlines()[0] == f"Host Web-1.example pve402-{LEASE_ID}"


@pytest.mark.parametrize("lease_id", NO_LEASE_IDS, ids=lambda text: ascii(text)[:40])
def test_what_is_no_lease_id_becomes_no_line_of_a_configuration(
    printed, tmp_path: Path, lease_id: str
) -> None:
    code, shown = printed(leaseId=lease_id)

    assert (code, shown) == (1, "")
    assert not (tmp_path / "pve402" / "known_hosts").exists()


@pytest.mark.parametrize("hostname", NO_HOST_NAMES, ids=lambda text: ascii(text)[:40])
def test_what_is_no_host_name_is_left_out_of_a_stanza(printed, hostname: str) -> None:
    code, shown = printed(hostname=hostname)

    assert code == 0
    assert shown.splitlines()[0] == f"Host pve402-{LEASE_ID}"
    assert shown.count("ProxyCommand") == 1


@pytest.mark.parametrize("lease_id", NO_LEASE_IDS, ids=lambda text: ascii(text)[:40])
def test_what_is_no_lease_id_stands_in_no_command_to_type(capsys, lease_id: str) -> None:
    standing = purchases.Standing()
    standing.note(schemas.LeaseAnswer.model_validate({**LEASE, "leaseId": lease_id}))

    standing.tell()

    assert "pve402 token LEASE" in capsys.readouterr().err
