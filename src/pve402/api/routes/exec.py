"""Commands in containers: run, follow, feed, signal, end."""

import asyncio
import dataclasses
import re
import signal
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import visit
from pve402.api.guest_call import GuestCall
from pve402.api.messages import command_request, commands, following, reply
from pve402.api.openapi import operations
from pve402.api.peers import forward
from pve402.api.sockets import exec as exec_socket
from pve402.api.transport import body, routing, sse
from pve402.domain import errors
from pve402.hub import errors as hub_errors
from pve402.hub import guest_scripts
from pve402.hub import request as hub_request
from pve402.hub.execution import Execution

router = routing.Router("exec")
router.websocket(exec_socket.PATH)(exec_socket.serve)

MAX_STDIN_BYTES: Final = 1024 * 1024

_RUN: Final = visit.Door(
    scope="exec",
    description="Run a command in a container",
    most_bytes=body.MOST_READ_BYTES,
    starts_command=True,
)
_LOOK: Final = visit.Door(scope="exec", description="Show commands in a container")
_FEED: Final = visit.Door(
    scope="exec", description="Write to a command's stdin", most_bytes=MAX_STDIN_BYTES
)
_SIGNAL: Final = visit.Door(scope="exec", description="Signal a command", most_bytes=body.MAX_BYTES)
_END: Final = visit.Door(scope="exec", description="End a command")
_REAL_TIME: Final = re.compile(r"RT(MIN|MAX)([+-][0-9]{1,2})?")
_EXEC_ID: Final = re.compile(r"e[0-9a-f]{24}")


@router.post("/management/exec/{ctid}", **operations.execution())
async def run_command(request: Request) -> Response:
    """Run a command in the container and answer with its output and exit code.

    `Accept: text/event-stream` answers with events as they come; `detach` answers 202 at once. A
    command that fails or times out is a normal answer, not an error. If the client disconnects,
    its command ends, unless the client was following events.
    """
    return await visit.enter(request, _RUN, _read_command, _run)


@router.get("/management/exec/{ctid}", **operations.fee(list[schemas.ExecItem]))
async def list_commands(request: Request) -> Response:
    """List the container's commands: those that are running, and those that ended recently.

    Detached commands stay in the list until they are deleted.
    """
    return await visit.enter(request, _LOOK, _nothing, _list)


@router.get("/management/exec/{ctid}/{execId}", **operations.execution_followed())
async def follow_command(request: Request) -> Response:
    """Show a command and its output so far; as events, follow it to its end.

    `Last-Event-ID` resumes a stream that broke.
    """
    return await visit.enter(request, _LOOK, _position, _follow)


@router.post("/management/exec/{ctid}/{execId}/stdin", **operations.execution_stdin())
async def send_stdin(request: Request) -> Response:
    """Write the body to the stdin of a command that was started with `openStdin`."""
    return await visit.enter(request, _FEED, _fed, _feed)


@router.post(
    "/management/exec/{ctid}/{execId}/signal", **operations.execution_change(schemas.SignalRequest)
)
async def send_signal(request: Request) -> Response:
    """Send a signal to the processes of a command."""
    return await visit.enter(request, _SIGNAL, _signal_name, _signal)


@router.delete("/management/exec/{ctid}/{execId}", **operations.execution_change())
async def end_command(request: Request) -> Response:
    """End a command: TERM, then KILL. A detached one is killed at once and its output deleted."""
    return await visit.enter(request, _END, _nothing, _end)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Command:
    """The requested command; `resumed` is where to resume a lost event stream."""

    asked: hub_request.ExecRequest
    encoding: schemas.ExecEncoding
    streams: bool
    resumed: tuple[str, int] | None


def _read_command(request: Request, raw: bytes) -> _Command:
    streams = sse.is_wanted(request)
    sent = body.parse(raw, schemas.ExecRequest)
    return _Command(
        asked=command_request.to_request(sent, streams=streams),
        encoding=sent.encoding,
        streams=streams,
        resumed=sse.last_event(request) if streams else None,
    )


def _nothing(_request: Request, _raw: bytes) -> None:
    """Parse nothing: the path has everything."""


def _position(request: Request, _raw: bytes) -> int:
    """The position to resume from."""
    resumed = sse.last_event(request)
    if resumed is not None and resumed[0] != request.path_params["execId"]:
        raise errors.InvalidRequest("Last-Event-ID belongs to another command")
    return resumed[1] if resumed else 0


def _fed(request: Request, raw: bytes) -> tuple[bytes, bool]:
    close = request.query_params.get("close", "").lower() in {"true", "1"}
    return raw, close


def _signal_name(_request: Request, raw: bytes) -> str:
    name = body.parse(raw, schemas.SignalRequest).signal.removeprefix("SIG")
    if f"SIG{name}" not in signal.Signals.__members__ and not _REAL_TIME.fullmatch(name):
        raise errors.InvalidRequest("there is no such signal; try TERM, INT, HUP or KILL")
    return name


async def _run(call: GuestCall, command: _Command) -> Response:
    if command.asked.detach:
        return await _detach(call, command)
    if command.resumed is not None:
        return await _follow_events(call, *command.resumed)
    execution = await call.work.commands.start(call.guest, command.asked, exec_id=call.exec_id)
    if command.streams:
        return sse.respond(following.events(call.lease, execution))
    result = await _until_over(call.request, execution)
    return commands.ended(call.lease, result, command.encoding).respond()


async def _until_over(request: Request, execution: Execution) -> hub_request.ExecResult:
    """Wait for the end; if the client goes, end the command, as only that client knows its id."""
    over = asyncio.ensure_future(execution.wait())
    gone = asyncio.create_task(forward.until_gone(request))
    try:
        await asyncio.wait([over, gone], return_when=asyncio.FIRST_COMPLETED)
        if not over.done():
            execution.cancel()
        return await over
    except asyncio.CancelledError:
        execution.cancel()
        raise
    finally:
        gone.cancel()
        over.cancel()


async def _detach(call: GuestCall, command: _Command) -> Response:
    exec_id = await call.work.detached.start(call.guest, command.asked)
    found = await call.work.detached.get(call.guest, exec_id)
    return commands.detached(call.lease, found, (), command.encoding).respond(202)


async def _list(call: GuestCall, _: None) -> Response:
    items = [commands.detached_item(found) for found in await call.work.detached.list(call.guest)]
    items += [
        commands.attached_item(found)
        for found in call.work.hub.executions(call.guest)
        if not guest_scripts.is_ours(found.request)
    ]
    items.sort(key=lambda item: item.started_at)
    return reply.respond_list(items)


async def _follow(call: GuestCall, position: int) -> Response:
    exec_id = _exec_id(call)
    if sse.is_wanted(call.request):
        return await _follow_events(call, exec_id, position)
    execution = _attached(call, exec_id)
    if execution is not None:
        return commands.attached(call.lease, execution, _encoding(call.request)).respond()
    found = await call.work.detached.get(call.guest, exec_id)
    pieces = await commands.output_so_far(call.work.detached, call.lease, found)
    return commands.detached(call.lease, found, pieces, _encoding(call.request)).respond()


async def _follow_events(call: GuestCall, exec_id: str, position: int) -> Response:
    execution = _attached(call, exec_id)
    if execution is not None:
        return sse.respond(commands.events(call.lease, execution, position))
    await call.work.detached.get(call.guest, exec_id)
    return sse.respond(commands.detached_events(call.work.detached, call.lease, exec_id, position))


async def _feed(call: GuestCall, fed: tuple[bytes, bool]) -> Response:
    data, close = fed
    exec_id = _exec_id(call)
    if _attached(call, exec_id) is not None:
        await call.work.hub.send_stdin(call.guest, exec_id, data, close=close)
    else:
        await call.work.detached.stdin(call.guest, exec_id, data, close=close)
    return Response(status_code=204)


async def _signal(call: GuestCall, name: str) -> Response:
    exec_id = _exec_id(call)
    if _attached(call, exec_id) is None:
        await call.work.detached.signal(call.guest, exec_id, name)
    elif not await call.work.hub.signal(call.guest, exec_id, name):
        raise hub_errors.RequestRefused("the command has ended")
    return Response(status_code=204)


async def _end(call: GuestCall, _: None) -> Response:
    exec_id = _exec_id(call)
    execution = _attached(call, exec_id)
    if execution is None:
        await call.work.detached.delete(call.guest, exec_id)
    else:
        execution.cancel()
    return Response(status_code=204)


def _exec_id(call: GuestCall) -> str:
    text: str = call.request.path_params["execId"]
    if not _EXEC_ID.fullmatch(text):
        raise hub_errors.ExecNotFound
    return text


def _attached(call: GuestCall, exec_id: str) -> Execution | None:
    try:
        found = call.work.hub.find(call.guest, exec_id)
    except hub_errors.ExecNotFound:
        return None
    if guest_scripts.is_ours(found.request):
        return None
    found.look()
    return found


def _encoding(request: Request) -> schemas.ExecEncoding:
    return "base64" if request.query_params.get("encoding") == "base64" else "utf-8"
