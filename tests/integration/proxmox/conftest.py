"""One fakepve for all tests of this folder, and a client of it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support import fakepve

from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.guests import Guests
from pve402.proxmox.tasks import Tasks

GUESTS = [
    {"vmid": 200, "type": "lxc", "name": "held", "status": "stopped", "lock": "backup"},
    {"vmid": 201, "type": "lxc", "name": "stubborn", "status": "running", "shutdown_secs": 500},
    {"vmid": 202, "type": "lxc", "name": "broken", "start_error": "bridge 'vmbr9' does not exist"},
    {"vmid": 203, "type": "lxc", "name": "kept", "config": {"protection": 1}},
]


@pytest.fixture(scope="session")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fakepve.FakePve]:
    with fakepve.running(tmp_path_factory.mktemp("fakepve"), guests=GUESTS) as running:
        yield running


@pytest.fixture
def options(fake: fakepve.FakePve) -> ProxmoxOptions:
    return ProxmoxOptions(
        host=fake.url,
        username=fake.user,
        password=fake.password,
        ca_file=fake.certificate.certificate,
    )


@pytest.fixture
async def client(options: ProxmoxOptions) -> AsyncIterator[ProxmoxClient]:
    async with ProxmoxClient(options) as proxmox:
        yield proxmox


@pytest.fixture
def guests(client: ProxmoxClient) -> Guests:
    return Guests(client)


@pytest.fixture
def tasks(client: ProxmoxClient) -> Tasks:
    return Tasks(client)
