"""The console chain, and a hub over it, for every test of this folder."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import Consoles

from pve402.hub.hub import Hub
from pve402.proxmox.guests import GuestRef


@pytest.fixture(scope="session")
def chain_url() -> Iterator[str]:
    yield from guest_consoles.serve()


@pytest.fixture
async def chain(chain_url: str) -> AsyncIterator[Consoles]:
    async with guest_consoles.consoles(chain_url) as consoles:
        yield consoles


@pytest.fixture
async def hub(chain: Consoles) -> AsyncIterator[Hub]:
    async with chain.hub(kill_after_seconds=1.0) as hub:
        yield hub


@pytest.fixture(params=guest_consoles.SHELLS.values(), ids=guest_consoles.SHELLS)
def any_guest(request: pytest.FixtureRequest) -> GuestRef:
    return guest_consoles.guest(request.param)


@pytest.fixture
def guest() -> GuestRef:
    return guest_consoles.guest(guest_consoles.DASH)
