"""Process: the calls by which SDKs run commands and terminals in a sandbox."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from pve402.e2b import connect, door, processes, refusals, sandboxes

_QUIET_SECONDS: Final = 50.0
_LEAST_QUIET_SECONDS: Final = 1.0
_SIGNALS: Final = {"SIGNAL_SIGKILL": "KILL", "SIGNAL_SIGTERM": "TERM", 9: "KILL", 15: "TERM"}
_KEEPALIVE: Final[dict[str, Any]] = {"event": {"keepalive": {}}}


async def start(request: web.Request, answers: connect.Answers) -> None:
    """Start a process and follow it; a time-out ends it."""
    wish = await connect.first_message(request)
    _, live, envs = await door.sandbox(request)
    process = processes.Process(await _config(request, live, wish, envs))
    with process.followed() as queue:
        await live.processes.start(process)
        try:
            async with connect.time_limit(request):
                await _follow(request, answers, live, process, queue)
        except TimeoutError:
            await live.processes.signal(process, "KILL")
            raise refusals.Refused("deadline_exceeded", "the command ran out of time") from None


async def follow(request: web.Request, answers: connect.Answers) -> None:
    """Follow a process that runs; what it wrote before is not told again."""
    wish = await connect.first_message(request)
    _, live, _ = await door.sandbox(request)
    process = live.processes.find(_selector(wish))
    with process.followed() as queue:
        async with connect.time_limit(request):
            await _follow(request, answers, live, process, queue)


async def list_all(request: web.Request, _wish: dict[str, Any]) -> dict[str, Any]:
    """List the processes that run."""
    _, live, _ = await door.sandbox(request)
    return {"processes": [_described(one) for one in live.processes.running()]}


async def send_input(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Write to a process."""
    _, live, _ = await door.sandbox(request)
    await _write(live.processes.find(_selector(wish)), wish)
    return {}


async def stream_input(request: web.Request) -> dict[str, Any]:
    """Write to a process, for as long as the client sends something."""
    _, live, _ = await door.sandbox(request)
    process: processes.Process | None = None
    async for message in connect.messages(request):
        if "start" in message:
            process = live.processes.find(_selector(_object(message["start"])))
        elif "data" in message:
            if process is None:
                raise refusals.Refused("invalid_argument", "the process is not named")
            await _write(process, _object(message["data"]))
    return {}


async def close_stdin(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """End the stdin of a process."""
    _, live, _ = await door.sandbox(request)
    process = live.processes.find(_selector(wish))
    if process.config.size:
        raise refusals.Refused("failed_precondition", "on a terminal, send Ctrl-D instead")
    if process.stream is not None:
        await process.stream.end_input()
    return {}


async def send_signal(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Signal a process."""
    _, live, _ = await door.sandbox(request)
    process = live.processes.find(_selector(wish))
    given = wish.get("signal")
    name = _SIGNALS.get(given) if isinstance(given, str | int) else None
    if name is None:
        raise refusals.Refused("invalid_argument", "only SIGKILL and SIGTERM can be sent")
    await live.processes.signal(process, name)
    return {}


async def update(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Set the size of a process's terminal."""
    _, live, _ = await door.sandbox(request)
    process = live.processes.find(_selector(wish))
    size = _size(wish.get("pty"))
    if process.config.size is None:
        raise refusals.Refused("failed_precondition", "the process has no terminal")
    if size is not None:
        await live.processes.resize(process, *size)
    return {}


async def _config(
    request: web.Request, live: sandboxes.Live, wish: Mapping[str, Any], envs: dict[str, str]
) -> processes.Config:
    person = await live.guest.person(door.user_name(request))
    program = _object(wish.get("process"))
    given = _object(program.get("envs"))
    tag = wish.get("tag")
    return processes.Config(
        words=[str(program.get("cmd") or ""), *map(str, _array(program.get("args")))],
        envs={**envs, **{name: str(value) for name, value in given.items()}},
        folder=person.path(str(program.get("cwd") or "")),
        user=person.name,
        tag=None if tag is None else str(tag),
        has_stdin=wish.get("stdin", True) is not False,
        size=_size(wish["pty"]) or (0, 0) if "pty" in wish else None,
    )


async def _follow(
    request: web.Request,
    answers: connect.Answers,
    live: sandboxes.Live,
    process: processes.Process,
    queue: processes.Queue,
) -> None:
    with connect.may_be_cut(request, live.processes.cuts):
        await answers.send({"event": {"start": {"pid": process.pid}}})
        async for piece in processes.pieces(queue, _quiet_seconds(request)):
            await answers.send(_KEEPALIVE if piece is None else _data(piece))
        if process.error is not None:
            raise process.error
        await answers.send({"event": {"end": _end(process.exit_code)}})


def _quiet_seconds(request: web.Request) -> float:
    text = request.headers.get("Keepalive-Ping-Interval", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 6
    return max(float(text), _LEAST_QUIET_SECONDS) if is_number else _QUIET_SECONDS


def _data(piece: processes.Piece) -> dict[str, Any]:
    return {"event": {"data": {piece.kind: base64.b64encode(piece.data).decode()}}}


def _end(code: int | None) -> dict[str, Any]:
    status = f"exit status {code}"
    told: dict[str, Any] = {"exitCode": code, "exited": True, "status": status}
    return {**told, "error": status} if code else told


def _described(one: processes.Process) -> dict[str, Any]:
    config = one.config
    program = {"cmd": config.words[0], "args": config.words[1:], "envs": config.envs}
    told: dict[str, Any] = {"pid": one.pid, "config": {**program, "cwd": config.folder}}
    return told if config.tag is None else {**told, "tag": config.tag}


async def _write(process: processes.Process, wish: Mapping[str, Any]) -> None:
    given = _object(wish.get("input"))
    kind = "pty" if process.config.size else "stdin"
    if kind not in given and given:
        raise refusals.Refused("invalid_argument", f"the process takes input as {kind}")
    try:
        data = base64.b64decode(given.get(kind, ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise refusals.Refused("invalid_argument", "the input is not base64") from None
    if process.stream is not None:
        await process.stream.write(data)


def _selector(wish: Mapping[str, Any]) -> dict[str, Any]:
    return _object(wish.get("process"))


def _object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refusals.Refused("invalid_argument", "a part of the message is not an object")
    return value


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list | None):
        raise refusals.Refused("invalid_argument", "a part of the message is not an array")
    return value or []


def _size(value: Any) -> tuple[int, int] | None:
    """Columns and rows; 0 where there is no window."""
    size = _object(_object(value).get("size"))
    found = size.get("cols", 0), size.get("rows", 0)
    if not all(type(number) is int and 0 <= number < 2**16 for number in found):
        raise refusals.Refused("invalid_argument", "the size of the terminal is not valid")
    return found if any(found) else None
