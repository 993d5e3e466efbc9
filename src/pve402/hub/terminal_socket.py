"""A guest's terminal over termproxy and vncwebsocket, authenticated.

API tokens can open termproxy only since pve-container 6.1.3 and 5.3.4. Before that the API
answers 200 and the socket opens, but the authentication line is silently dropped. In that case
we try a user with a password, if one is configured, and keep using it.
"""

import asyncio
from contextlib import suppress

import aiohttp
import structlog

from pve402.hub import errors
from pve402.proxmox import errors as proxmox_errors
from pve402.proxmox import termproxy
from pve402.proxmox.client import WebSocket
from pve402.proxmox.guests import GuestRef, Guests

_log = structlog.get_logger(__name__)

#: termproxy waits 10 s for the line; its answer takes milliseconds.
_GREETING_SECONDS = 5.0
# Looking this up in the enum for every message would cost as much as reading the message.
_BINARY = aiohttp.WSMsgType.BINARY


class WebSocketTerminal:
    """The bytes of a console's websocket after the greeting."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._ahead = b""

    async def authenticate(self, user: str, ticket: str) -> bool:
        """Send the first line; False if termproxy drops it or stays silent."""
        greeting = termproxy.GreetingReader()
        with suppress(TimeoutError, OSError, termproxy.ProtocolViolation):
            await self.send(termproxy.auth_line(user, ticket))
            async with asyncio.timeout(_GREETING_SECONDS):
                while not greeting.accepted:
                    data = await self.receive()
                    if data is None:
                        return False
                    self._ahead = greeting.feed(data)
        return greeting.accepted

    async def send(self, data: bytes) -> None:
        """Send one binary message. Raises OSError when the socket is gone."""
        try:
            await self._socket.send_bytes(data)
        except (aiohttp.ClientError, RuntimeError) as error:
            raise ConnectionError(type(error).__name__) from None

    async def receive(self) -> bytes | None:
        """The bytes of the next message; None at the end."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        message = await self._socket.receive()
        if message.type is _BINARY:
            output: bytes = message.data
            return output
        return message.data.encode() if message.type is aiohttp.WSMsgType.TEXT else None

    async def close(self) -> None:
        """Close the socket."""
        await self._socket.close()


class TermproxyConnector:
    """Opens terminals as the API token, or as the console user if tokens are refused."""

    def __init__(self, guests: Guests, console_guests: Guests | None = None) -> None:
        self._guests = guests
        self._console_guests = console_guests
        self._token_refused = False

    async def __call__(self, guest: GuestRef) -> WebSocketTerminal:
        """Open the terminal of a guest.

        Raises GuestNotRunning, TerminalUnreachable.
        """
        if not (self._token_refused and self._console_guests):
            opened = await self._open(self._guests, guest)
            if opened is not None:
                return opened
            _log.warning("hub.token_refused_by_termproxy", node=guest.node, vmid=guest.vmid)
        if self._console_guests is None:
            raise errors.TerminalUnreachable("the terminal refuses the API token")
        opened = await self._open(self._console_guests, guest)
        if opened is None:
            raise errors.TerminalUnreachable("the terminal refuses the console user")
        self._token_refused = True
        return opened

    async def _open(self, guests: Guests, guest: GuestRef) -> WebSocketTerminal | None:
        try:
            ticket = await guests.open_terminal(guest)
            opened = WebSocketTerminal(await guests.connect(guest, ticket))
        except (proxmox_errors.GuestMissing, proxmox_errors.GuestNotRunning) as error:
            raise errors.GuestNotRunning from error
        except proxmox_errors.ProxmoxError as error:
            raise errors.TerminalUnreachable from error
        is_accepted = False
        try:
            is_accepted = await opened.authenticate(ticket.user, ticket.ticket)
        finally:
            if not is_accepted:
                with suppress(OSError):
                    await opened.close()
        return opened if is_accepted else None
