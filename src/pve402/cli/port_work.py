"""The work of `tunnel LEASE PORTS`: local ports that lead to the container's own loopback."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from pve402 import client, schemas
from pve402.cli import calls, credentials, terminal
from pve402.client import relay

_PORTS: Final = re.compile(r"(?:([0-9]{1,5}):)?([0-9]{1,5})")
#: How the service's relay ends in a container without perl.
_NO_RELAY: Final = 127


@dataclass(frozen=True, kw_only=True)
class Forwarding:
    """A local port, 0 for any free one, and the container's port it leads to."""

    local: int
    remote: int


def parsed(words: Sequence[str]) -> list[Forwarding]:
    """Read LOCAL:REMOTE or PORT. Exits with 2 for anything else."""
    found = []
    for word in words:
        match = _PORTS.fullmatch(word)
        remote = int(match[2]) if match else 0
        local = int(match[1] or remote) if match else 0
        if not 0 < remote < 65536 or local > 65535:
            terminal.misused("give ports from 1 to 65535 as LOCAL:REMOTE, such as 8080:80")
        found.append(Forwarding(local=local, remote=remote))
    return found


def forward(
    url: str, token: str | None, name: str, wishes: Sequence[Forwarding], *, as_json: bool
) -> None:
    """Listen on local ports until stopped, and carry connections into the container."""

    async def forwarded(service: client.Client) -> None:
        ctid = await client.names.resolve(service, name)
        doors = _Doors(service, ctid)
        async with contextlib.AsyncExitStack() as stack:
            for wish in wishes:
                await stack.enter_async_context(_listening(doors, wish, as_json))
            await asyncio.Event().wait()

    calls.run(credentials.holder(url, token), forwarded)


@contextlib.asynccontextmanager
async def _listening(doors: "_Doors", wish: Forwarding, as_json: bool) -> AsyncIterator[None]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await doors.carry(wish.remote, reader, writer)
        except (relay.Unreachable, client.ClientError) as error:
            terminal.say(f"port {wish.remote}: {client.plain(error)}")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", wish.local) as server:
        local = server.sockets[0].getsockname()[1]
        if as_json:
            terminal.show_facts({"host": "127.0.0.1", "port": local, "remotePort": wish.remote})
        else:
            terminal.say(f"127.0.0.1:{local} leads to the container's port {wish.remote}")
        yield


class _Doors:
    """Opens the way into the container when a connection needs it."""

    def __init__(self, service: client.Client, ctid: str) -> None:
        self._service = service
        self._ctid = ctid
        self._relay: relay.Relay | None = None
        self._running: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._has_relay = True

    async def carry(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one connection. Raises Unreachable, ClientError."""
        if self._has_relay:
            shared = await self._opened()
            try:
                await shared.carry(port, reader, writer)
            except relay.Unreachable:
                if self._has_relay:
                    raise
        if self._has_relay:
            return
        wish = schemas.StreamSocketRequest(service="port", port=port)
        async with client.streams.opened(self._service, self._ctid, wish) as stream:
            await relay.carry_alone(stream, reader, writer)

    async def _opened(self) -> relay.Relay:
        """The relay for all connections; the service ends it when it was idle for a minute."""
        async with self._opening:
            if self._relay is None or self._relay.has_ended:
                opened: asyncio.Future[relay.Relay] = asyncio.get_running_loop().create_future()
                self._running = asyncio.create_task(self._run(opened))
                self._relay = await opened
            return self._relay

    async def _run(self, opened: "asyncio.Future[relay.Relay]") -> None:
        wish = schemas.StreamSocketRequest(service="ports")
        try:
            async with client.streams.opened(self._service, self._ctid, wish) as stream:
                shared = relay.Relay(stream)
                opened.set_result(shared)
                with contextlib.suppress(client.ClientError):  # its connections are told
                    await shared.run(before_end=lambda: self._note_end(stream))
        except client.ClientError as error:
            if not opened.done():
                opened.set_exception(error)

    def _note_end(self, stream: client.streams.Stream) -> None:
        if stream.exit_code == _NO_RELAY:
            self._has_relay = False
