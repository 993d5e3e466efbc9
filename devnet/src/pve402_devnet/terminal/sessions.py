"""The shared terminals of all guests: at most one each, created when the first console opens."""

import asyncio
from typing import Protocol

from pve402_devnet.guests.process import Started
from pve402_devnet.terminal.manners import TerminalManners
from pve402_devnet.terminal.shared import SharedTerminal

_NO_SHELL = (
    "lxc-attach: {vmid}: ../src/lxc/attach.c: get_attach_context: 406 "
    "Connection refused - Failed to get init pid\r\n"
    "lxc-attach: {vmid}: ../src/lxc/attach.c: lxc_attach: 1470 "
    "Connection refused - Failed to get attach context\r\n"
)
_NO_TTY = (
    "lxc-console: {vmid}: ../src/lxc/tools/lxc_console.c: lxc_console_main: 130 "
    "{vmid} is not running\r\n"
)


class GuestStopped(Exception):
    """The guest does not run; `text` is what its console says then."""

    def __init__(self, vmid: int, cmode: str) -> None:
        super().__init__(vmid)
        self.text = (_NO_SHELL if cmode == "shell" else _NO_TTY).format(vmid=vmid).encode()


class ConsoleSource(Protocol):
    """Where the programs behind consoles come from."""

    async def open_console(self, vmid: int, cmode: str) -> Started:
        """Start the program of a console on a terminal; RuntimeError where the guest is stopped."""


class Terminals:
    """Finds or creates the shared terminal of a guest. A terminal keeps its mode."""

    def __init__(self, source: ConsoleSource, manners: TerminalManners) -> None:
        self._source = source
        self._manners = manners
        self._terminals: dict[int, SharedTerminal] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    async def get(self, vmid: int, cmode: str) -> SharedTerminal:
        """Return the guest's terminal; raises GuestStopped."""
        async with self._locks.setdefault(vmid, asyncio.Lock()):
            terminal = self._terminals.get(vmid)
            if terminal is None or terminal.ended:
                terminal = await self._open(vmid, cmode)
                self._terminals[vmid] = terminal
            return terminal

    def close(self) -> None:
        """Release every terminal."""
        for terminal in self._terminals.values():
            terminal.end()

    async def _open(self, vmid: int, cmode: str) -> SharedTerminal:
        try:
            started = await self._source.open_console(vmid, cmode)
        except RuntimeError as error:
            raise GuestStopped(vmid, cmode) from error
        if started.terminal is None:
            raise GuestStopped(vmid, cmode)
        terminal = SharedTerminal(started.terminal, self._manners)
        # Programs left behind may hold the terminal open; the shell's own end is the session's end.
        started.exit_code.add_done_callback(lambda _: terminal.end_soon())
        return terminal
