"""Whether a guest runs detached commands is asked of the replica that holds its terminal."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import asgi
from tests.support.installation import Installation

from pve402.api import app as application
from pve402.api.peers import listener
from pve402.api.routes import exec as commands
from pve402.domain import lease
from pve402.guests import detached_ways, holder, peers
from pve402.hub import errors as hub_errors
from pve402.hub.detached import Detached, DetachedState
from pve402.storage import tables

ADDRESS = "10.0.0.2:4022"


class Holder:
    """The replica that holds every terminal, as another one calls it; it may be out of reach."""

    def __init__(self, installation: Installation) -> None:
        context = application.create_app(installation.parts).state.context
        self._signer = peers.Signer(b"k" * 32)
        app = listener.assemble(context, ADDRESS, self._signer, [commands.router])
        self._http = asgi.Asgi(app)
        self.is_reachable = True

    async def send(
        self, address: str, method: str, path: str, *, lease_id: str, headers: dict[str, str]
    ) -> Any:
        """Make a signed call."""
        if not self.is_reachable:
            raise peers.PeerUnreachable
        signed = self._signer.sign(address, method, path, lease_id, b"")
        reply = await self._http.request(method, path, headers={**headers, **signed})

        async def chunks(_size: int) -> AsyncIterator[bytes]:
            yield reply.body

        content = SimpleNamespace(iter_chunked=chunks)
        return SimpleNamespace(status=reply.status, content=content, close=lambda: None)


def command(state: DetachedState) -> Detached:
    """A detached command of a state."""
    return Detached(
        exec_id="e" + "0" * 24,
        state=state,
        exit_code=None,
        started_at=1_800_000_000,
        stdout_bytes=0,
        stderr_bytes=0,
        truncated=False,
        timed_out=False,
        duration_ms=None,
    )


async def elsewhere(_guest: Any) -> Any:
    """What a replica says that does not hold the terminal."""
    raise hub_errors.Moved(owner_address=ADDRESS)


async def test_the_holder_of_the_terminal_is_asked_and_no_answer_is_work(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[DetachedState] | Exception] = [
        [DetachedState.EXITED, DetachedState.RUNNING],
        [DetachedState.EXITED, DetachedState.LOST],
        [],
        hub_errors.GuestNotRunning(),
    ]

    async def listed(_guest: Any) -> list[Detached]:
        found = told.pop(0)
        if isinstance(found, Exception):
            raise found
        return [command(state) for state in found]

    async def claim(_guest: Any) -> Any:
        return SimpleNamespace(is_ours=False, owner_address=ADDRESS)

    monkeypatch.setattr(holder, "FIND_SECONDS", 0.1)
    row = await watched(installation)
    monkeypatch.setattr(installation.parts.guest_work.detached, "list", listed)
    far = Holder(installation)
    asking: Any = SimpleNamespace(
        detached=SimpleNamespace(list=elsewhere), peers=far, owners=SimpleNamespace(claim=claim)
    )

    answers = [await detached_ways.are_running(asking, row) for _ in range(4)]
    far.is_reachable = False
    answers.append(await detached_ways.are_running(asking, row))

    assert answers == [True, False, False, True, True]
    assert await installation.leases.find(row.lease_id) == row  # the question is no use


async def watched(installation: Installation) -> lease.Lease:
    """A lease that is to be paused when it is idle, last in use long ago."""
    sold = (await installation.lease()).lease
    async with installation.parts.db.begin() as tx:
        wish = {"metadata": {"idlePauseMinutes": 5}, "active_at": installation.parts.db.now(-9000)}
        await tx.execute(tables.leases.update().values(**wish))
    return await installation.leases.find(sold.lease_id)
