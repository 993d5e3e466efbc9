"""A guest on its new node is not let go of with what is left of it on the old one."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.guest_consoles import Consoles

from pve402.guests.ownership import StoredOwnership
from pve402.hub import hub as hubs
from pve402.hub.options import HubOptions
from pve402.hub.outbox import TerminalSocket
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef
from pve402.storage.database import Database

pytestmark = pytest.mark.namespaces


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database(f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3").open()
    yield opened
    await opened.close()


@pytest.fixture
def moved(guest: GuestRef) -> GuestRef:
    """The guest after its migration."""
    return GuestRef(node="two", vmid=guest.vmid)


async def test_the_old_nodes_terminal_is_forgotten_alone(
    chain: Consoles, db: Database, guest: GuestRef, moved: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "TIDY_SECONDS", 0.05)
    owners, other = RenewedOwnership(db, "10.0.0.1:1"), StoredOwnership(db, "10.0.0.2:1")
    async with migrated(chain, guest, owners) as hub:
        waiting = ExecRequest(command="cat", open_stdin=True)
        execution = await hub.start(moved, waiting)

        async with asyncio.timeout(20):
            await owners.alone[moved].wait()
        claim = await other.claim(moved)
        await hub.send_stdin(moved, execution.exec_id, b"still here", close=True)

        assert not claim.is_ours
        assert (await execution.wait()).stdout == b"still here"


async def test_a_guest_is_free_when_its_last_terminal_is_closed(
    chain: Consoles, db: Database, guest: GuestRef, moved: GuestRef
) -> None:
    owners, other = StoredOwnership(db, "10.0.0.1:1"), StoredOwnership(db, "10.0.0.2:1")
    async with migrated(chain, guest, owners) as hub:
        await hub.exec(moved, ExecRequest(command="true"))

        await hub.close_guest(guest)
        one_is_left = await other.claim(moved)
        await hub.close_guest(moved)
        none_is_left = await other.claim(moved)

    assert (one_is_left.is_ours, none_is_left.is_ours) == (False, True)


class RenewedOwnership(StoredOwnership):
    """Tells when it was renewed for one guest and no other."""

    def __init__(self, db: Database, peer_address: str) -> None:
        super().__init__(db, peer_address)
        self.alone: defaultdict[GuestRef, asyncio.Event] = defaultdict(asyncio.Event)
        self._last: GuestRef | None = None

    async def renew(self, guest: GuestRef) -> bool:
        """Hold on."""
        holds = await super().renew(guest)
        if holds and guest == self._last:
            self.alone[guest].set()
        self._last = guest
        return holds


@asynccontextmanager
async def migrated(
    chain: Consoles, guest: GuestRef, owners: StoredOwnership
) -> AsyncIterator[hubs.Hub]:
    """A hub that had a session in a guest on its old node; forgets commands as they end."""

    async def open_terminal(_: GuestRef) -> TerminalSocket:
        return await chain.open_terminal(guest)  # it is one guest wherever it stands

    async with hubs.Hub(HubOptions(kept_seconds=0.0), open_terminal, owners=owners) as hub:
        await hub.exec(guest, ExecRequest(command="true"))
        session = await hub.session(guest)
        await session.close()
        yield hub
