"""The websocket of a stream whose client has come back over another one."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from pve402.api.sockets import stream as stream_socket
from pve402.hub import budget
from pve402.hub.request import EventKind
from pve402.hub.stream import Stream
from pve402.proxmox.guests import GuestRef


class Stuck:
    """The near end of a dead connection: it takes no output, but holds input that came before."""

    def __init__(self) -> None:
        self.is_stuck = asyncio.Event()
        self.input: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sent: list[Any] = []
        self._is_opened = False
        scope = {"type": "websocket", "app": SimpleNamespace(), "headers": []}
        self.socket = WebSocket(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        if not self._is_opened:
            self._is_opened = True
            return {"type": "websocket.connect"}
        return {"type": "websocket.receive", "bytes": await self.input.get()}

    async def _send(self, message: Any) -> None:
        if message.get("bytes"):
            self.is_stuck.set()
            await asyncio.Event().wait()
        self.sent.append(message)


def stream_without_guest() -> Stream:
    room = budget.OutputBudget(guest_bytes=1000, total_bytes=1000, make_room=lambda *_: None)
    return Stream(room.open(GuestRef(node="one", vmid=1)))


class Near:
    """The near end of a connection whose client does what a test says."""

    def __init__(self, *told: Any) -> None:
        self.sent: list[Any] = []
        self._told = [{"type": "websocket.connect"}, *told]
        self._end_came = asyncio.Event()
        scope = {"type": "websocket", "app": SimpleNamespace(), "headers": []}
        self.socket = WebSocket(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        if len(self.sent) > 0:
            await self._end_came.wait()
        if not self._told:
            await asyncio.Event().wait()
        return self._told.pop(0)

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if (message.get("bytes") or b"").startswith(b"\x03"):
            self._end_came.set()


@pytest.mark.parametrize(
    ("told", "is_forgotten"),
    [
        ({"type": "websocket.receive", "bytes": b"\xff\xff"}, True),
        ({"type": "websocket.disconnect", "code": 1000}, True),
        ({"type": "websocket.disconnect", "code": 1006}, False),
    ],
)
async def test_an_ended_stream_is_forgotten_once_its_client_has_the_end(
    told: dict[str, Any], is_forgotten: bool
):
    stream = stream_without_guest()
    stream.finish(3)
    near = Near(told)
    await near.socket.accept()

    with suppress(WebSocketDisconnect):
        await asyncio.wait_for(stream_socket._carry(near.socket, stream, 0), 10)

    assert stream.exit_code == 3
    assert stream.is_given_up(absence_seconds=60.0) is is_forgotten


async def test_input_left_in_a_replaced_connection_is_not_written_twice():
    stream = stream_without_guest()
    stream.add_output(EventKind.STDOUT, b"output")
    dead = Stuck()
    await dead.socket.accept()
    carrying = asyncio.create_task(stream_socket._carry(dead.socket, stream, 0))
    await dead.is_stuck.wait()

    stream.attach(0)  # the client sends again from `received` on
    dead.input.put_nowait(b"\x00sent before the connection broke")
    await asyncio.wait_for(carrying, 10)

    assert stream.received == 0
    assert dead.sent[-1]["code"] == stream_socket.REPLACED
