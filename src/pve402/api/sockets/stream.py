"""A stream over a websocket: bytes both ways between a client and a program in a container.

The client's first message is text, `StreamSocketRequest`: a program, or the stream to come back to.
The server answers with text, `{"streamId", "received", "window"}`. All other messages are binary,
and their first byte is the channel:

    client   0 stdin   4 size of a shell's terminal, as JSON {"Width", "Height"}
             6 how much output it has received in all, 8 bytes, most significant first
             255 0 end of stdin   255 255 the end of the stream
    server   1 stdout  2 stderr   6 how much stdin the program has taken in all, likewise
             3 how it ended, as a Kubernetes Status in JSON

The program waits while its output is not confirmed, and the client may send `window` bytes beyond
what was taken. So both sides can always read, and neither keeps more than a window for the other.
A client whose connection breaks has a minute to come back with `resume` and `position`, also if
the program has ended meanwhile. One that has the end says so with `255 255`, or by closing with
1000, and the stream is forgotten at once. Refusals close the socket as those of a command do.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from pve402 import schemas
from pve402.api import context, guest_call
from pve402.api.messages import command_request
from pve402.api.sockets import binary, entry, relay
from pve402.api.transport import body, routing
from pve402.domain.lease import Lease
from pve402.guests import guest_work, stream_wire
from pve402.hub import errors as hub_errors
from pve402.hub import stream as streams
from pve402.hub.request import EventKind

router = routing.Router("stream")

REPLACED: Final = stream_wire.REFUSED + 409
_CHANNELS: Final = {
    EventKind.STDOUT: stream_wire.STDOUT,
    EventKind.STDERR: stream_wire.STDERR,
}
_LONGEST_SIZE: Final = 256
#: How long we wait for the client to say that it has the end.
_GOODBYE_SECONDS: Final = 2.0
_NORMAL: Final = 1000
_TELL_BYTES: Final = streams.INPUT_WINDOW // 4


@router.websocket(stream_wire.PATH)
async def serve(socket: WebSocket) -> None:
    """Open a stream, or come back to one, and carry its bytes."""
    await socket.accept()
    async with entry.refusals_told(socket):
        hello = await entry.hello(socket, schemas.StreamSocketRequest)
        async with entry.admitted(socket, hello.token) as found:
            try:
                stream = await _opened(socket, found, hello)
            except hub_errors.Moved as moved:
                await _at_holder(socket, found, hello, moved)
                return
            await _carry(socket, stream, hello.position)


async def _opened(
    socket: WebSocket, found: Lease, hello: schemas.StreamSocketRequest
) -> streams.Stream:
    work, guest = context.of(socket).work, guest_work.ref(found)
    if hello.resume is not None:
        return await work.hub.find_stream(guest, hello.resume)
    return await work.streams.open(guest, found, command_request.to_program(hello))


async def _at_holder(
    socket: WebSocket,
    found: Lease,
    hello: schemas.StreamSocketRequest,
    moved: hub_errors.Moved,
) -> None:
    """Hand the socket on to the replica that holds the guest's terminal."""
    if guest_call.lease_of_peer_call(socket) is not None:
        await entry.close(socket, relay.NOT_HERE, moved.code)
        return
    told = hello.model_dump_json(exclude={"token"}, exclude_unset=True, by_alias=True)
    work = context.of(socket).work
    if not await relay.hand_on(socket, work, found, moved.owner_address, told):
        await _carry(socket, await _opened(socket, found, hello), hello.position)


async def _carry(socket: WebSocket, stream: streams.Stream, position: int) -> None:
    """Carry bytes until the program ends, the client leaves or another one takes its place."""
    client = stream.attach(position)
    try:
        ready = {
            "streamId": stream.stream_id,
            "received": stream.received,
            "window": streams.INPUT_WINDOW,
        }
        await socket.send_text(json.dumps(ready))
        await _first_of(_listen(socket, stream, client), _tell(socket, stream, client, position))
        if not stream.is_attached(client):
            await entry.close(socket, REPLACED, "stream_replaced")
    except WebSocketDisconnect as goodbye:
        if goodbye.code == _NORMAL and stream.end_told and stream.is_attached(client):
            stream.leave()
        raise
    finally:
        stream.detach(client)


async def _first_of(*works: Awaitable[None]) -> None:
    """Run until one ends; raises what it raises."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(socket: WebSocket, stream: streams.Stream, client: int) -> None:
    """Take what the client sends until another one takes its place.

    Raises WebSocketDisconnect, TextRefused, RequestRefused.
    """
    acts: dict[int, Callable[[bytes], None]] = {
        stream_wire.STDIN: stream.write,
        stream_wire.RESIZE: lambda data: _resize(stream, data),
        stream_wire.COUNT: lambda data: stream.confirm(int.from_bytes(data, "big")),
    }
    while True:
        message = await binary.receive(socket)
        if not stream.is_attached(client):
            return  # the client sends this again over its new connection
        channel, data = message[:1], message[1:]
        if message == stream_wire.END_OF_STREAM:
            stream.leave()
            await entry.close(socket, _NORMAL, "")
            return
        if message == stream_wire.END_OF_INPUT:
            stream.end_input()
        elif channel and channel[0] in acts:
            acts[channel[0]](data)


def _resize(stream: streams.Stream, data: bytes) -> None:
    size = body.parse(data[:_LONGEST_SIZE], schemas.TerminalSize)
    stream.resize(size.width, size.height)


async def _tell(socket: WebSocket, stream: streams.Stream, client: int, position: int) -> None:
    """Send output, what was taken, and the end, until another client takes this one's place.

    Raises WebSocketDisconnect.
    """
    told = stream.taken
    while stream.is_attached(client):
        changed = stream.changed
        if stream.taken - told >= _TELL_BYTES:
            told = stream.taken
            await binary.send(socket, stream_wire.counted(told))
            continue
        piece = stream.read(position)
        if piece is not None:
            kind, data = piece
            await stream.pace(len(data))
            await binary.send(socket, bytes([_CHANNELS[kind]]) + data)
            position += len(data)
        elif stream.is_over:
            await _end(socket, stream)
            return
        else:
            await changed.wait()


async def _end(socket: WebSocket, stream: streams.Stream) -> None:
    """Tell how the program ended, and wait for the client. Raises the error that lost it."""
    if stream.error is not None:
        raise stream.error
    status: dict[str, Any] = {"metadata": {}, "status": "Success", "exitCode": stream.exit_code}
    if stream.exit_code:
        message = f"the program ended with exit code {stream.exit_code}"
        status |= {"status": "Failure", "reason": "NonZeroExitCode", "message": message}
    await binary.send(socket, bytes([stream_wire.STATUS]) + json.dumps(status).encode())
    stream.end_told = True
    await asyncio.sleep(_GOODBYE_SECONDS)
    await entry.close(socket, _NORMAL, "")
