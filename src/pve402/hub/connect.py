"""Opens sessions: a terminal over Proxmox, and the agent on it."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from pve402.hub import boot, errors
from pve402.hub.options import HubOptions
from pve402.hub.outbox import TerminalSocket
from pve402.hub.session import Session
from pve402.proxmox import termproxy
from pve402.proxmox.guests import GuestRef

_log = structlog.get_logger(__name__)

#: A stale agent, and a shell that ended on our Ctrl-C, each cost one more try.
_LARGEST_ATTEMPTS = 4

OpenTerminal = Callable[[GuestRef], Awaitable[TerminalSocket]]


async def open_session(
    open_terminal: OpenTerminal, guest: GuestRef, options: HubOptions
) -> Session:
    """Open the guest's terminal and start the agent on it.

    Raises GuestNotRunning, NoShell, TerminalStuck, TerminalUnreachable.
    """
    name = f"{guest.node}/{guest.vmid}"
    try:
        async with asyncio.timeout(options.open_seconds):
            for attempt in range(_LARGEST_ATTEMPTS):
                started_at = time.monotonic()
                session = await _attempt(
                    open_terminal, guest, options, name=name, patience=2.0**attempt
                )
                if session is not None:
                    elapsed_ms = round((time.monotonic() - started_at) * 1000)
                    _log.info(
                        "hub.session_opened", guest=name, attempt=attempt, elapsed_ms=elapsed_ms
                    )
                    return session
    except TimeoutError:
        raise errors.TerminalUnreachable("the guest's terminal did not answer in time") from None
    raise errors.TerminalUnreachable("the guest's terminal ends whenever it is opened")


async def _attempt(
    open_terminal: OpenTerminal,
    guest: GuestRef,
    options: HubOptions,
    *,
    name: str,
    patience: float,
) -> Session | None:
    """One try; None if the terminal's session ended while we recovered it."""
    socket = await open_terminal(guest)
    nonce, mark = secrets.token_hex(6), secrets.token_hex(4)
    try:
        hello = await _drive(boot.steps(mark, nonce, patience=patience), socket)
    except boot.StaleAgent:
        await _close(socket)
        return None
    except BaseException:
        await _close(socket)
        raise
    session = Session(socket, nonce, hello, options, name=name)
    session.start()
    return session


async def _drive(steps: boot.Steps, socket: TerminalSocket) -> boot.Hello:
    """Type and listen as the steps say."""
    heard: boot.Heard | None = None
    try:
        while True:
            step = steps.send(heard)
            heard = None
            if isinstance(step, boot.Type):
                await _send(socket, step.data)
            else:
                heard = await _hear(step, socket)
    except StopIteration as stop:
        hello: boot.Hello = stop.value
        return hello


async def _send(socket: TerminalSocket, data: bytes) -> None:
    with suppress(OSError):  # the next `Hear` finds the end
        await socket.send(termproxy.input_packet(data))


async def _hear(hear: boot.Hear, socket: TerminalSocket) -> boot.Heard:
    listener = boot.Listener(hear, time.monotonic())
    while True:
        heard = listener.heard(time.monotonic())
        if heard is not None:
            return heard
        try:
            async with asyncio.timeout(max(0.0, listener.deadline() - time.monotonic())):
                data = await _receive(socket)
        except TimeoutError:
            continue
        if data is None:
            return listener.end()
        listener.feed(data, time.monotonic())
        await asyncio.sleep(0)  # a guest that floods its terminal holds up nobody else


async def _receive(socket: TerminalSocket) -> bytes | None:
    try:
        return await socket.receive()
    except OSError:
        return None


async def _close(socket: TerminalSocket) -> None:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await socket.close()
