"""Detached commands: they run on without us, and can be looked at, followed, fed and ended.

async with client.Client("https://rent.example.com", token="...") as service:
    started = await client.detached.start(service, "10001", schemas.ExecRequest(argv=["make"]))
    async for told in client.detached.follow(service, "10001", started.exec_id):
        print(told)
"""

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from pydantic import TypeAdapter

from pve402 import schemas
from pve402.client import commands, errors, events, refusals, transport
from pve402.client.client import Client
from pve402.client.patience import Patience

_ITEMS: Final = TypeAdapter(list[schemas.ExecItem])
_EVENTS: Final = {"Accept": "text/event-stream"}
_MOST_STDIN_BYTES: Final = 1024 * 1024


async def start(service: Client, ctid: str, wish: schemas.ExecRequest) -> schemas.ExecAnswer:
    """Start a command and return its id and facts.

    Raises Refused, ServiceUnreachable (it may have started: see `every`), KeyNeeded.
    """
    document = transport.document(wish.model_copy(update={"detach": True}))
    return await _asked(service, "POST", ctid, "", document=document)


async def show(service: Client, ctid: str, exec_id: str) -> schemas.ExecAnswer:
    """A command and its output so far. Raises Refused, ServiceUnreachable, KeyNeeded."""
    return await _asked(service, "GET", ctid, f"/{exec_id}")


async def every(service: Client, ctid: str) -> list[schemas.ExecItem]:
    """The container's commands: those that run, and those that ended recently. Raises as `show`."""
    async with service.opened("GET", _path(ctid), ctid, timeout=transport.WHOLE) as answer:
        body = (await transport.read_reply(answer)).body
    return transport.parsed(body, _ITEMS.validate_json)


async def write(
    service: Client, ctid: str, exec_id: str, data: bytes, *, is_last: bool = False
) -> None:
    """Write to the stdin of a command that was started with `open_stdin`; raises as `show`.

    `is_last` ends its stdin afterwards.
    """
    pieces = [data[at : at + _MOST_STDIN_BYTES] for at in range(0, len(data), _MOST_STDIN_BYTES)]
    for number, piece in enumerate(pieces or [b""], 1):
        closes = "?close=true" if is_last and number >= len(pieces) else ""
        await _told(service, "POST", ctid, f"/{exec_id}/stdin{closes}", body=_giver(piece))


async def signal(service: Client, ctid: str, exec_id: str, name: str = "TERM") -> None:
    """Send a signal to all processes of a command. Raises as `show`."""
    document = transport.document(schemas.SignalRequest(signal=name))
    await _told(service, "POST", ctid, f"/{exec_id}/signal", document=document)


async def follow(
    service: Client, ctid: str, exec_id: str
) -> AsyncGenerator[commands.Output | commands.Ending]:
    """Yield a command's output from its beginning, and finally how it ended.

    It comes back after broken connections. Raises CommandLost if the outcome cannot be known any
    more, and as `show`.
    """
    position, patience = "", Patience()
    while True:
        try:
            async with aclosing(_events(service, ctid, exec_id, position)) as following:
                async for event in following:
                    position = event.get("id", position)
                    patience.answered()
                    told = _parsed(event)
                    if told is not None:
                        yield told
                    if isinstance(told, commands.Ending):
                        return
        except errors.ServiceUnreachable as error:
            patience.lost(error)
        await patience.pause()


async def _events(
    service: Client, ctid: str, exec_id: str, position: str
) -> AsyncGenerator[dict[str, str]]:
    """Read server-sent events, each as its fields."""
    headers = {**_EVENTS, **({"Last-Event-ID": position} if position else {})}
    async with service.opened("GET", _path(ctid, f"/{exec_id}"), ctid, headers=headers) as answer:
        if answer.content_type != _EVENTS["Accept"]:
            raise errors.UnexpectedAnswer("the answer is not the command's events")
        async for event in events.read(answer):
            yield event


def _parsed(event: dict[str, str]) -> commands.Output | commands.Ending | None:
    """Parse an event. Raises CommandLost, Refused, UnexpectedAnswer."""
    kind, data = event.get("event"), event.get("data", "")
    try:
        if kind in {"stdout", "stderr"}:
            stream: Any = kind
            return commands.Output(stream=stream, data=base64.b64decode(data, validate=True))
        if kind not in {"exit", "error"}:
            return None
        facts = json.loads(data)
        if kind == "error":
            raise refusals.of(502, str(facts["code"]), str(facts["detail"]))
        return _ending(facts)
    except (LookupError, TypeError, ValueError, RecursionError, binascii.Error):
        raise errors.UnexpectedAnswer("the command's events cannot be read") from None


def _ending(facts: Any) -> commands.Ending:
    if facts.get("state") == "lost":
        raise errors.CommandLost("the command was ended by a restart of the container")
    exit_code = facts["exitCode"]
    return commands.Ending(
        exit_code=None if exit_code is None else int(exit_code),
        timed_out=bool(facts["timedOut"]),
        truncated=bool(facts["truncated"]),
    )


def _path(ctid: str, rest: str = "") -> str:
    return f"/management/exec/{ctid}{rest}"


def _giver(data: bytes) -> Any:
    return lambda: data


async def _asked(
    service: Client, method: str, ctid: str, rest: str, **request: Any
) -> schemas.ExecAnswer:
    path = _path(ctid, rest)
    async with service.opened(method, path, ctid, timeout=transport.WHOLE, **request) as answer:
        return transport.read(await transport.read_reply(answer), schemas.ExecAnswer)


async def _told(service: Client, method: str, ctid: str, rest: str, **request: Any) -> None:
    path = _path(ctid, rest)
    async with service.opened(method, path, ctid, timeout=transport.WHOLE, **request) as answer:
        await transport.read_reply(answer)
