"""What E2B's agent in a sandbox offers: RPC for processes and files, transfers, a health check."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from pve402 import client
from pve402.e2b import connect, door, file_calls, process_calls, refusals, transfers, watch_calls

_Call = Callable[[web.Request, dict[str, Any]], Awaitable[dict[str, Any]]]
_Stream = Callable[[web.Request, connect.Answers], Awaitable[None]]
_CALLS: Final[dict[str, _Call]] = {
    "process.Process/List": process_calls.list_all,
    "process.Process/SendInput": process_calls.send_input,
    "process.Process/CloseStdin": process_calls.close_stdin,
    "process.Process/SendSignal": process_calls.send_signal,
    "process.Process/Update": process_calls.update,
    "filesystem.Filesystem/Stat": file_calls.stat,
    "filesystem.Filesystem/ListDir": file_calls.list_folder,
    "filesystem.Filesystem/MakeDir": file_calls.make_folder,
    "filesystem.Filesystem/Move": file_calls.move,
    "filesystem.Filesystem/Remove": file_calls.remove,
    "filesystem.Filesystem/CreateWatcher": watch_calls.create,
    "filesystem.Filesystem/GetWatcherEvents": watch_calls.events,
    "filesystem.Filesystem/RemoveWatcher": watch_calls.remove,
}
_STREAMS: Final[dict[str, _Stream]] = {
    "process.Process/Start": process_calls.start,
    "process.Process/Connect": process_calls.follow,
    "filesystem.Filesystem/WatchDir": watch_calls.watch,
}
_INPUT: Final = "process.Process/StreamInput"
#: Of a call whose client names no limit, such as one to a process that does not read its input.
_LONGEST_SECONDS: Final = 120.0


def add_to(app: web.Application) -> None:
    """Add the routes."""
    app.router.add_get("/health", health)
    app.router.add_get("/files", transfers.download)
    app.router.add_post("/files", transfers.upload)
    app.router.add_post("/{service:(process.Process|filesystem.Filesystem)}/{method}", rpc)


async def health(request: web.Request) -> web.Response:
    """Say that the sandbox is there."""
    await door.sandbox(request)
    return web.Response(status=204)


async def rpc(request: web.Request) -> web.StreamResponse:
    """Serve a call."""
    name = f"{request.match_info['service']}/{request.match_info['method']}"
    answers = connect.Answers(request)
    is_stream = name in _STREAMS or request.content_type == connect.STREAM
    if request.content_type not in {connect.JSON, connect.STREAM}:
        return web.Response(status=415)  # as Connect has it for other codecs
    try:
        said = await _answered(request, name, answers)
    except ConnectionError:
        return answers.left()
    except refusals.GONE:
        raise
    except (refusals.Refused, client.ClientError, TimeoutError) as error:
        told = refusals.of(error)
        return await answers.end(told.rpc) if is_stream else connect.refusal(told)
    if not is_stream:
        return connect.answer(said)
    if name == _INPUT:
        await answers.send(said)
    return await answers.end()


async def _answered(request: web.Request, name: str, answers: connect.Answers) -> dict[str, Any]:
    if name in _CALLS:
        async with connect.time_limit(request, _LONGEST_SECONDS):
            return await _CALLS[name](request, connect.parsed(await request.read()))
    if name == _INPUT:
        return await process_calls.stream_input(request)
    if name in _STREAMS:
        await _STREAMS[name](request, answers)
        return {}
    raise refusals.Refused("unimplemented", f"pve402 does not offer {client.plain(name, 80)}")
