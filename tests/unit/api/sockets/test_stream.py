"""The websocket of a stream whose client has come back over another one."""

import asyncio
from types import SimpleNamespace
from typing import Any

from starlette.websockets import WebSocket

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


async def test_input_left_in_a_replaced_connection_is_not_written_twice():
    room = budget.OutputBudget(guest_bytes=1000, total_bytes=1000, make_room=lambda *_: None)
    stream = Stream(room.open(GuestRef(node="one", vmid=1)))
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
