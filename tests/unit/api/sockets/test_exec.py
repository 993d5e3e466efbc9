"""The websocket of a command whose client leaves early or does not read."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.support import limits

from pve402 import schemas
from pve402.api import server
from pve402.api.sockets import exec as exec_socket
from pve402.api.transport import side_listener
from pve402.guests import guest_work
from pve402.hub.execution import Execution
from pve402.hub.request import ExecRequest
from pve402.hub.stream import no_pace

REQUEST = ExecRequest(argv=("sleep", "60"), open_stdin=True)


class Client:
    """The far end of a websocket: it sends some messages, and may be gone for what we send."""

    def __init__(self, *messages: bytes, gone: bool = False, work: Any = None) -> None:
        self.sent: list[Any] = []
        self.probed = asyncio.Event()
        self._messages = [{"type": "websocket.receive", "bytes": data} for data in messages]
        self._gone = gone
        state = SimpleNamespace(context=SimpleNamespace(work=work))
        scope = {"type": "websocket", "app": SimpleNamespace(state=state), "headers": []}
        self.socket = WebSocket(scope, self._receive, self._send)

    async def accept(self) -> WebSocket:
        """Open the socket."""
        self._messages.insert(0, {"type": "websocket.connect"})
        await self.socket.accept()
        return self.socket

    async def _receive(self) -> Any:
        return self._messages.pop(0) if self._messages else await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.accept":
            return
        if self._gone:
            raise OSError
        self.sent.append(message)
        self.probed.set()


async def test_a_client_that_left_before_its_command_began_ends_it(monkeypatch: Any):
    execution = Execution("e1", REQUEST, clock=lambda: 0.0)

    async def start(_guest: Any, _asked: Any) -> Execution:
        return execution

    work = SimpleNamespace(
        is_closing=False, commands=SimpleNamespace(start=start), rates=limits.wide_rates()
    )
    monkeypatch.setattr(guest_work, "ref", lambda _lease: None)
    monkeypatch.setattr(exec_socket.commands, "names", lambda _lease, exec_id: {"execId": exec_id})
    socket = await Client(gone=True, work=work).accept()
    found: Any = SimpleNamespace(lease_id="l1", owner="w1")
    hello = schemas.ExecSocketRequest.model_validate({"argv": ["sleep", "60"]})

    with pytest.raises(WebSocketDisconnect):
        await exec_socket._run(socket, found, REQUEST, hello)

    assert execution.cancelled


async def test_a_client_is_probed_while_the_end_of_stdin_waits(monkeypatch: Any):
    monkeypatch.setattr(exec_socket, "PROBE_SECONDS", 0.01)
    execution = Execution("e1", REQUEST, clock=lambda: 0.0)
    await execution.stdin.put(b"not read yet", close=False)
    client = Client(b"\xff\x00")
    socket = await client.accept()

    reading = asyncio.create_task(exec_socket._read(socket, execution, no_pace))
    await asyncio.wait_for(client.probed.wait(), 10)
    reading.cancel()

    assert client.sent[0]["bytes"] == b"\x01"


def test_no_client_is_cut_off_because_its_pong_waits_behind_unread_stdin():
    settings: Any = SimpleNamespace(
        pve402_host="127.0.0.1", pve402_port=0, pve402_trusted_proxies=()
    )

    for options in (server._uvicorn_config(None, settings), side_listener._config(None)):
        assert (options.ws_ping_interval, options.ws_ping_timeout) == (20.0, None)
