"""A client and the server it talks to."""

from collections.abc import AsyncIterator

import pytest
from tests.support import scripted_server

from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions

TOKEN_ID = "svc@pve!test"
TOKEN_SECRET = "5d9e3f4a-0000-4000-8000-1f2e3d4c5b6a"


@pytest.fixture
async def server() -> AsyncIterator[scripted_server.ScriptedServer]:
    async with scripted_server.running() as scripted:
        yield scripted


@pytest.fixture
def options(server: scripted_server.ScriptedServer) -> ProxmoxOptions:
    return ProxmoxOptions(host=server.url, token_id=TOKEN_ID, token_secret=TOKEN_SECRET)


@pytest.fixture
async def client(options: ProxmoxOptions) -> AsyncIterator[ProxmoxClient]:
    async with ProxmoxClient(options) as proxmox:
        yield proxmox
