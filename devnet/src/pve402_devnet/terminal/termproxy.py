"""One run of termproxy: authenticate the client, attach it to the guest's terminal, relay."""

import asyncio
import hmac
import random

from pve402_devnet.pve.runtime import ConsoleSession
from pve402_devnet.terminal import links, packets, shared
from pve402_devnet.terminal.manners import SessionEnd, TerminalManners
from pve402_devnet.terminal.peers import Peer
from pve402_devnet.terminal.sessions import GuestStopped, Terminals

_LINE_LIMIT_BYTES = 4096
_DETACH_KEY = 0x1C
_FULL_SECONDS = 0.02
_CHUNK_BYTES = 8  # what dtach reads from its terminal at a time
_PTY_GONE = "error reading from pty: Input/output error (os error 5)"


class WorkerFailed(Exception):
    """termproxy exits with code 1."""


class TermproxyWorker:
    """Serves one authenticated client until it leaves or the terminal ends (`shared.Client`)."""

    def __init__(
        self,
        *,
        session: ConsoleSession,
        peer: Peer,
        terminals: Terminals,
        manners: TerminalManners,
        chance: random.Random,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._session = session
        self._peer = peer
        self._terminals = terminals
        self._manners = manners
        self._chance = chance
        self._reader = packets.PacketReader(strict=manners.loses_split_headers)
        self._terminal: shared.SharedTerminal | None = None
        self._size = (80, 20)
        self._early: list[bytes] = []
        self._over = False
        self._failed: asyncio.Future[None] = loop.create_future()
        stall = manners.stall_seconds
        self._to_client = links.Link(
            stall_seconds=stall, call_later=loop.call_later, send=peer.send
        )
        self._from_client = links.Link(
            stall_seconds=stall, call_later=loop.call_later, send=self._on_bytes
        )
        links.join(self._to_client, self._from_client)

    async def run(self) -> None:
        """Relay until the client leaves; raises WorkerFailed where termproxy exits with 1."""
        rest = await self._authenticate()
        self._to_client.write(b"OK")
        attaching = asyncio.create_task(self._attach())
        attaching.add_done_callback(self._on_attached)
        relaying = asyncio.create_task(self._relay(rest))
        try:
            await asyncio.wait([relaying, self._failed], return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            else:
                relaying.result()
        finally:
            attaching.cancel()
            relaying.cancel()
            self._leave()

    def deliver(self, data: bytes) -> None:
        """Pass output on to the client."""
        self._to_client.write(data)

    def has_room(self) -> bool:
        """Return whether the client keeps up."""
        return self._peer.has_room()

    def on_end(self) -> None:
        """Show or drop the end of the program, as the options say."""
        self._terminal = None
        self._finish(shared.TRAILER)

    async def _authenticate(self) -> bytes:
        """Read `user:ticket` and a newline; return what follows."""
        line = b""
        try:
            async with asyncio.timeout(self._manners.line_limit_seconds):
                while b"\n" not in line and len(line) < _LINE_LIMIT_BYTES:
                    data = await self._peer.receive()
                    if not data:
                        self._fail("failed reading ticket: connection closed before authentication")
                    line += data
        except TimeoutError:
            self._fail("failed reading ticket: timed out")
        credentials, _, rest = line.partition(b"\n")
        if not self._is_good(credentials):
            self._fail("authentication request failed")
        return rest

    def _is_good(self, credentials: bytes) -> bool:
        if self._manners.refuses_tokens and "!" in self._session.user:
            return False
        wanted = f"{self._session.user}:{self._session.ticket}".encode()
        return hmac.compare_digest(credentials, wanted)

    def _fail(self, text: str) -> None:
        self._session.log(text)
        raise WorkerFailed

    async def _attach(self) -> None:
        await asyncio.sleep(self._manners.attach_seconds)
        try:
            terminal = await self._terminals.get(self._session.vmid, self._session.cmode)
        except GuestStopped as stopped:
            await asyncio.sleep(self._manners.stopped_seconds)
            self._to_client.write(shared.CLEAR)
            self._to_client.write(stopped.text)
            self._finish(shared.TRAILER)
            return
        self._terminal = terminal
        self._peer.on_room = terminal.room_made
        terminal.attach(self)
        terminal.resize(*self._size)
        for data in self._early:
            terminal.write(data)

    def _on_attached(self, attaching: asyncio.Task[None]) -> None:
        error = None if attaching.cancelled() else attaching.exception()
        if error and not self._failed.done():
            self._failed.set_exception(error)

    async def _relay(self, rest: bytes) -> None:
        data = rest or await self._peer.receive()
        while data:
            self._from_client.write(data)
            while self._must_wait():  # noqa: ASYNC110 - a transport tells of its end to no event
                await asyncio.sleep(_FULL_SECONDS)
            data = await self._peer.receive()

    def _must_wait(self) -> bool:
        full = self._terminal is not None and self._terminal.is_full()
        return full and self._peer.is_open()

    def _on_bytes(self, data: bytes) -> None:
        for event in self._reader.feed(data):
            if isinstance(event, packets.Resize):
                self._resize(event)
            else:
                self._type(event.data)

    def _resize(self, event: packets.Resize) -> None:
        self._size = (event.columns, event.rows)
        if self._terminal:
            self._terminal.resize(*self._size)

    def _type(self, data: bytes) -> None:
        if self._over:
            self._end_with_failure()
        elif self._terminal is None:
            if not self._manners.loses_early_input:
                self._early.append(data)
        else:
            before_key, detached = self._cut_at_detach_key(data)
            self._terminal.write(before_key)
            if detached:
                self._terminal.detach(self)
                self._terminal = None
                self._finish(shared.DETACHED)

    def _cut_at_detach_key(self, data: bytes) -> tuple[bytes, bool]:
        position = data[::_CHUNK_BYTES].find(_DETACH_KEY)
        if position < 0 or not self._manners.detaches_on_key:
            return data, False
        return data[: position * _CHUNK_BYTES], True

    def _finish(self, trailer: bytes) -> None:
        end = self._manners.end
        if end is SessionEnd.RANDOM:
            end = self._chance.choice((SessionEnd.STAYS_OPEN, SessionEnd.DROPS))
        if end is SessionEnd.DROPS:
            self._end_with_failure()
            return
        self._to_client.write(trailer)
        self._over = True

    def _end_with_failure(self) -> None:
        if not self._failed.done():
            self._session.log(_PTY_GONE)
            self._failed.set_exception(WorkerFailed())

    def _leave(self) -> None:
        self._failed.cancel()
        if self._terminal:
            self._terminal.detach(self)
        self._to_client.close(flush=True)
        self._from_client.close(flush=False)
        self._peer.drop()
