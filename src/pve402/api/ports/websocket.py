"""A websocket between a visitor and a server in a guest, message by message.

The `websockets` package speaks to the guest, our own server to the visitor; neither sees the
other's frames. The visitor's handshake is answered once the guest has answered ours.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from websockets import client as websocket_client
from websockets import exceptions, frames, http11, protocol, uri

from pve402.api.ports.exchange import Goal
from pve402.api.transport import pace
from pve402.guests import connections

LARGEST_MESSAGE_BYTES: Final = 1024 * 1024
#: How long a server may take for one message; through a busy terminal, 1 MiB takes tens of seconds.
MESSAGE_SECONDS: Final = 120.0
_HANDSHAKE_SECONDS: Final = 30.0
_GOODBYE_SECONDS: Final = 3.0
_TOLD: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


async def carry(
    connection: connections.Connection, goal: Goal, scope: Scope, receive: Receive, send: Send
) -> None:
    """Carry a websocket until either side ends it; closes the connection.

    Raises PortSilent, PortAnswerInvalid, PortBroken, and WebSocketDisconnect.
    """
    upstream = _Upstream(connection, goal, scope["subprotocols"])
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            answer = await upstream.shake_hands()
    except TimeoutError:
        raise connections.PortSilent from None
    except OSError:
        raise connections.PortBroken from None
    if answer.status_code != 101:
        await _refuse(answer, goal, send)
        return
    await receive()  # the visitor's wish to connect
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in _raw(answer)]
    accept: Message = {"type": "websocket.accept", "headers": goal.rewrite(raw)}
    await send({**accept, "subprotocol": upstream.subprotocol})
    await _both_ways(upstream, receive, send)


class _Upstream:
    """Our side of the websocket to the guest."""

    def __init__(
        self, connection: connections.Connection, goal: Goal, subprotocols: Sequence[Any]
    ) -> None:
        path, _, query = goal.target.decode("latin-1").partition("?")
        address = uri.WebSocketURI(False, "localhost", goal.port, path, query)
        self._protocol = websocket_client.ClientProtocol(
            address, subprotocols=subprotocols or None, max_size=LARGEST_MESSAGE_BYTES
        )
        self._connection = connection
        self._goal = goal
        self._writing = asyncio.Lock()
        self._events: list[Any] = []  # the first messages may come along with the handshake
        self._parts: list[bytes] = []
        self._is_text = False

    @property
    def subprotocol(self) -> str | None:
        """What the server chose of the visitor's offers."""
        return self._protocol.subprotocol

    async def shake_hands(self) -> http11.Response:
        """Ask for a websocket; returns the server's answer. Raises OSError, PortAnswerInvalid."""
        request = self._protocol.connect()
        del request.headers["Host"]
        for name, value in self._goal.request_headers:
            request.headers[name.decode("latin-1")] = value.decode("latin-1")
        self._protocol.send_request(request)
        await self.flush()
        while self._protocol.handshake_exc is None:
            self._take(await self._read())
            self._events += self._protocol.events_received()
            if self._protocol.state is protocol.State.OPEN:
                break
        if self._events and isinstance(self._events[0], http11.Response):
            answer: http11.Response = self._events.pop(0)
            is_accepted = self._protocol.handshake_exc is None
            if is_accepted or answer.status_code >= 200:
                return answer
        raise connections.PortAnswerInvalid

    async def messages(self) -> list[Message]:
        """The next messages, as our server sends them; none when the websocket is over."""
        while self._protocol.state is not protocol.State.CLOSED:
            found = self._taken()
            if found:
                return found
            self._take(await self._read())
            await self.flush()
        return self._taken()

    def closing(self) -> tuple[int, str]:
        """How the server ended the websocket, in a code that may be sent on."""
        received = self._protocol.close_rcvd
        if received is None:
            return 1011, "port_broken"
        return (received.code, received.reason) if received.code in _TOLD else (1000, "")

    async def send(self, message: Message) -> None:
        """Send one message of the visitor's. Raises OSError."""
        with contextlib.suppress(exceptions.InvalidState):
            if message.get("bytes") is not None:
                self._protocol.send_binary(message["bytes"])
            elif message.get("text") is not None:
                self._protocol.send_text(message["text"].encode())
        await self.flush()

    async def say_goodbye(self, code: int, reason: str) -> None:
        """Close the websocket on the visitor's behalf."""
        with contextlib.suppress(exceptions.InvalidState):
            self._protocol.send_close(code if code in _TOLD else 1001, reason)
        await self.flush()

    async def flush(self) -> None:
        """Send what the protocol has to say. Raises OSError."""
        async with self._writing:
            for data in self._protocol.data_to_send():
                if data:
                    await self._connection.write(data)

    def _take(self, data: bytes) -> None:
        """Take bytes of the guest, or their end."""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()

    async def _read(self) -> bytes:
        try:
            return await self._connection.read()
        except OSError:
            return b""

    def _taken(self) -> list[Message]:
        found: list[Message] = []
        events, self._events = [*self._events, *self._protocol.events_received()], []
        for event in events:
            if not isinstance(event, frames.Frame) or event.opcode not in _DATA:
                continue
            if event.opcode is not frames.Opcode.CONT:
                self._parts, self._is_text = [], event.opcode is frames.Opcode.TEXT
            self._parts.append(bytes(event.data))
            if event.fin:
                found.append(self._whole())
        return found

    def _whole(self) -> Message:
        data = b"".join(self._parts)
        if self._is_text:
            return {"type": "websocket.send", "text": data.decode("utf-8", "replace")}
        return {"type": "websocket.send", "bytes": data}


async def _both_ways(upstream: _Upstream, receive: Receive, send: Send) -> None:
    down = asyncio.create_task(_down(upstream, send))
    up = asyncio.create_task(_up(upstream, receive))
    try:
        done, _ = await asyncio.wait([down, up], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if down in done:
            code, reason = upstream.closing()
            await send({"type": "websocket.close", "code": code, "reason": reason})
        else:
            await asyncio.wait([down], timeout=_GOODBYE_SECONDS)
    except OSError:
        await send({"type": "websocket.close", "code": 1011, "reason": "port_broken"})
    finally:
        for task in (down, up):
            task.cancel()
        await asyncio.gather(down, up, return_exceptions=True)


async def _down(upstream: _Upstream, send: Send) -> None:
    while found := await upstream.messages():
        for message in found:
            try:
                async with asyncio.timeout(pace.SECONDS):
                    await send(message)
            except TimeoutError:
                raise WebSocketDisconnect(1006, "the visitor does not read") from None


async def _up(upstream: _Upstream, receive: Receive) -> None:
    """Pass messages on; a server that takes none keeps no visitor's place. Raises PortSilent."""
    while True:
        message = await receive()
        try:
            async with asyncio.timeout(MESSAGE_SECONDS):
                if message["type"] == "websocket.disconnect":
                    code = message.get("code") or 1001
                    await upstream.say_goodbye(code, message.get("reason") or "")
                    return
                await upstream.send(message)
        except TimeoutError:
            raise connections.PortSilent from None


async def _refuse(answer: http11.Response, goal: Goal, send: Send) -> None:
    """Pass on that the server did not want a websocket."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in _raw(answer)]
    passed = [pair for pair in goal.rewrite(raw) if pair[0] != b"content-length"]
    start = {"type": "websocket.http.response.start", "status": answer.status_code}
    await send({**start, "headers": passed})
    await send({"type": "websocket.http.response.body", "body": answer.body or b""})


def _raw(answer: http11.Response) -> Sequence[tuple[str, str]]:
    return [*answer.headers.raw_items()]


_DATA: Final = frozenset({frames.Opcode.TEXT, frames.Opcode.BINARY, frames.Opcode.CONT})
