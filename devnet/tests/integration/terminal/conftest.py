"""Guests with real shells, and consoles on them, for every test of this folder."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from devnet.tests.support.console_client import ConsoleClient

from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec
from pve402_devnet.terminal import standalone
from pve402_devnet.terminal.manners import TerminalManners
from pve402_devnet.terminal.service import Consoles


def spec(template: str = "busybox-alpine", cmode: str = "shell", password: str = "") -> GuestSpec:
    return GuestSpec(node="pve", hostname="ct", template=template, cmode=cmode, password=password)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A client and the guests behind what it speaks to."""

    client: ConsoleClient
    runtime: NamespaceRuntime
    logs: list[str]


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Bench]]


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[NamespaceRuntime]:
    made = NamespaceRuntime(RuntimeOptions(disks=str(tmp_path / "disks")))
    yield made
    await made.close()


@pytest.fixture
def serve(runtime: NamespaceRuntime) -> Serve:
    """Serve the guests given by vmid, with the manners given."""

    @contextlib.asynccontextmanager
    async def run(manners: TerminalManners, **guests: GuestSpec) -> AsyncIterator[Bench]:
        specs = {int(name.removeprefix("ct")): value for name, value in guests.items()}
        consoles = Consoles(runtime, manners)
        stand = standalone.Standalone(
            runtime=runtime, consoles=consoles, specs=specs or {140: spec()}
        )
        async with standalone.serve(stand) as url, ConsoleClient(url) as client:
            yield Bench(client=client, runtime=runtime, logs=stand.logs)

    return run
