"""A command over a websocket, with the same channel bytes as Kubernetes.

The client's first message is text: the body of the exec call as JSON, plus `token` if the client
cannot set headers, as in a browser. The server's first message is also text and gives the
execution's id. All other messages are binary, and their first byte is the channel:

    client   0 stdin   4 window size, ignored because there is no terminal
             255 close the channel given in the next byte: 0 ends stdin
    server   1 stdout  2 stderr  3 how it ended, as a Kubernetes Status in JSON

A refusal closes the socket with 4000 plus the HTTP status, and the error code as reason. The same
happens if the token or the lease ends while the command runs. A text message after the first closes
it with 1003, and a message over 1 MiB with 1009.
"""

import asyncio
import contextlib
import json
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from pve402 import schemas
from pve402.api import context, guest_call
from pve402.api.messages import command_request, commands
from pve402.api.sockets import binary, entry, relay
from pve402.domain import errors
from pve402.domain.lease import Lease
from pve402.guests import guest_work
from pve402.hub import errors as hub_errors
from pve402.hub import stream as streams
from pve402.hub.execution import Execution
from pve402.hub.request import EventKind, ExecRequest, ExecResult

PATH: Final = "/management/exec/{ctid}/ws"
PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")

PROBE_SECONDS: Final = 2.0
_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_CHANNELS: Final = {EventKind.STDOUT: _STDOUT, EventKind.STDERR: _STDERR}


async def serve(socket: WebSocket) -> None:
    """Run one command for a websocket's client; it ends when the client leaves."""
    await socket.accept(subprotocol=_protocol(socket))
    async with entry.refusals_told(socket):
        hello = await entry.hello(socket, schemas.ExecSocketRequest)
        async with entry.admitted(socket, hello.token) as found:
            asked = command_request.to_request(hello, streams=True)
            await _run(socket, found, asked, hello)


async def _run(
    socket: WebSocket, found: Lease, asked: ExecRequest, hello: schemas.ExecSocketRequest
) -> None:
    work = context.of(socket).work
    if work.is_closing:
        raise errors.TryLater
    try:
        execution = await work.commands.start(guest_work.ref(found), asked)
    except hub_errors.Moved as moved:
        if guest_call.lease_of_peer_call(socket) is not None:
            await entry.close(socket, relay.NOT_HERE, moved.code)
            return
        told = hello.model_dump_json(exclude={"token"}, exclude_unset=True, by_alias=True)
        if await relay.hand_on(socket, work, found, moved.owner_address, told):
            return
        execution = await work.commands.start(guest_work.ref(found), asked)
    try:
        await binary.send(socket, json.dumps(commands.names(found, execution.exec_id)))
        await _attend(socket, execution, work.rates.of(found))
    finally:
        execution.cancel()


async def _attend(socket: WebSocket, execution: Execution, pace: streams.Pace) -> None:
    """Relay stdin and output until the command ends or the client leaves."""
    reading = asyncio.create_task(_read(socket, execution, pace))
    writing = asyncio.create_task(_write(socket, execution, pace))
    try:
        await asyncio.wait([reading, writing], return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            reading.result()
        await writing
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _read(socket: WebSocket, execution: Execution, pace: streams.Pace) -> None:
    """Read stdin no faster than the program does; when the client leaves, end the command.

    Raises TextRefused.
    """
    try:
        while True:
            message = await binary.receive(socket)
            channel, data = message[:1], message[1:]
            await pace(len(data))
            with contextlib.suppress(hub_errors.RequestRefused):  # stdin is already closed
                if channel == bytes([_STDIN]):
                    await _feed(socket, execution, data, close=False)
                elif channel == bytes([_CLOSE]) and data == bytes([_STDIN]):
                    await _feed(socket, execution, b"", close=True)
    except (WebSocketDisconnect, RuntimeError):
        execution.cancel()


async def _feed(socket: WebSocket, execution: Execution, data: bytes, *, close: bool) -> None:
    """Hand bytes to the command, which may be slow to read them.

    Nothing is read from the client meanwhile, so a client that died would not be noticed. An empty
    message goes out now and then, because a connection without a client does not take it.
    """
    putting = asyncio.ensure_future(execution.stdin.put(data, close=close))
    try:
        while not (await asyncio.wait([putting], timeout=PROBE_SECONDS))[0]:
            await binary.send(socket, bytes([_STDOUT]))
        putting.result()
    finally:
        putting.cancel()


async def _write(socket: WebSocket, execution: Execution, pace: streams.Pace) -> None:
    async for event in execution.follow():
        await pace(len(event.data))
        if event.kind in _CHANNELS:
            await binary.send(socket, bytes([_CHANNELS[event.kind]]) + event.data)
        elif event.result is not None:
            await _end(socket, _status_of(event.result))
            await entry.close(socket, 1000, "")
        elif event.error is not None:
            await _end(socket, _status_of_error(event.error))
            raise event.error


async def _end(socket: WebSocket, status: dict[str, Any]) -> None:
    await binary.send(socket, bytes([_STATUS]) + json.dumps(status).encode())


def _status_of(result: ExecResult) -> dict[str, Any]:
    """Describe how a command ended: a Kubernetes Status plus our own facts."""
    facts = commands.exit_facts(result)
    if result.exit_code == 0 and result.truncated:
        return {
            "metadata": {},
            "status": "Failure",
            "message": "the command ended with exit code 0, but part of its output was dropped",
            "reason": "OutputTruncated",
            **facts,
        }
    if result.exit_code == 0:
        return {"metadata": {}, "status": "Success", **facts}
    cause = {"reason": "ExitCode", "message": str(result.exit_code)}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"the command ended with exit code {result.exit_code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [cause]},
        **facts,
    }


def _status_of_error(error: hub_errors.HubError) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": error.detail,
        "reason": "InternalError",
        "code": error.code,
        "execId": error.exec_id,
    }


def _protocol(socket: WebSocket) -> str | None:
    offered = socket.scope.get("subprotocols", [])
    return next((name for name in PROTOCOLS if name in offered), None)
