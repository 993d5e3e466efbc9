"""Guests with real shells, and consoles on them, for every test of this folder."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from devnet.tests.support.console_client import ConsoleClient
from devnet.tests.support.guests import runtime, spec  # noqa: F401

from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec
from pve402_devnet.terminal import standalone
from pve402_devnet.terminal.manners import TerminalManners
from pve402_devnet.terminal.service import Consoles


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A client and the guests behind what it speaks to."""

    client: ConsoleClient
    runtime: NamespaceRuntime
    logs: list[str]


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Bench]]


@pytest.fixture
def serve(runtime: NamespaceRuntime) -> Serve:  # noqa: F811
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
