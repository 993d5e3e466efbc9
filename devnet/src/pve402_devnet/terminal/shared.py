"""The one terminal all consoles of a guest share, as dtach keeps it.

It outlives its clients: shell, terminal modes and running commands stay.
Output goes to every client; without any client it is read and dropped.
"""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from typing import Protocol

from pve402_devnet.terminal.manners import TerminalManners

CLEAR = b"\x1b[H\x1b[J"
TRAILER = b"\x1b[999H\r\n[EOF - dtach terminating]\r\n\x1b[?25h"
DETACHED = b"\x1b[999H\r\n[detached]\r\n\x1b[?25h"
_READ_BYTES = 65_536
_INPUT_LIMIT_BYTES = 128 * 1024
_LAST_OUTPUT_SECONDS = 0.01
_LAST_OUTPUT_ROUNDS = 100
# What a client is sure to get while others are attached, and how fast that grows again.
_SHARED_BYTES = 64 * 1024
_SHARED_BYTES_PER_SECOND = 1024 * 1024
# The second terminal of the real chain buffers as much again as the first before writers block.
_SPARE_INPUT_BYTES = 22_528


class Client(Protocol):
    """Who is attached to a shared terminal."""

    def deliver(self, data: bytes) -> None:
        """Take output; never blocks."""

    def has_room(self) -> bool:
        """Return whether more output would be taken now."""

    def on_end(self) -> None:
        """The program of the terminal has ended, after the last output."""


class Allowance:
    """How much output a client gets beside others: dtach does not wait for slow ones then."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._bytes = float(_SHARED_BYTES)
        self._at = clock()

    def take(self, count: int) -> bool:
        """Use up `count` bytes, or return that they are lost."""
        now = self._clock()
        grown = self._bytes + (now - self._at) * _SHARED_BYTES_PER_SECOND
        self._bytes, self._at = min(grown, _SHARED_BYTES), now
        if count > self._bytes:
            return False
        self._bytes -= count
        return True


class SharedTerminal:
    """Owns the master of one guest's terminal until the program on it ends."""

    def __init__(self, master: int, manners: TerminalManners) -> None:
        self._loop = asyncio.get_running_loop()
        self._master = master
        self._manners = manners
        self._clients: dict[Client, Allowance] = {}
        self._unsent = bytearray()
        self._reading = False
        self._quiet = True
        self.ended = False
        os.set_blocking(master, False)
        self._resume()

    def attach(self, client: Client) -> None:
        """Add a client and clear its screen."""
        self._clients[client] = Allowance(self._loop.time)
        client.deliver(CLEAR)
        self.room_made()

    def detach(self, client: Client) -> None:
        """Remove a client; the program is not affected."""
        self._clients.pop(client, None)
        self.room_made()

    def write(self, data: bytes) -> None:
        """Type into the terminal."""
        if self.ended or not data:
            return
        was_empty = not self._unsent
        self._unsent += data
        if was_empty:
            self._flush()

    def resize(self, columns: int, rows: int) -> None:
        """Set the size for everyone; if it changed, the program gets SIGWINCH."""
        if not self.ended:
            size = struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def room_made(self) -> None:
        """A client can take output again."""
        if self._may_read():
            self._resume()

    def end(self) -> None:
        """Tell the clients that the program has ended, and close. Safe to call twice."""
        if self.ended:
            return
        self.ended = True
        self._pause()
        self._loop.remove_writer(self._master)
        os.close(self._master)
        for client in tuple(self._clients):
            client.on_end()
        self._clients.clear()

    def end_soon(self) -> None:
        """The program is gone; take the output that it left, then end.

        What it started may hold the terminal open, so its end is not waited for.
        """
        self._quiet = False
        self._loop.call_later(_LAST_OUTPUT_SECONDS, self._end_when_quiet, _LAST_OUTPUT_ROUNDS)

    def is_full(self) -> bool:
        """Return whether input should wait until the program has read some."""
        return len(self._unsent) > _INPUT_LIMIT_BYTES

    def _end_when_quiet(self, rounds: int) -> None:
        if (self._quiet and self._reading) or not rounds:
            self.end()
        else:
            self._quiet = True
            self._loop.call_later(_LAST_OUTPUT_SECONDS, self._end_when_quiet, rounds - 1)

    def _may_read(self) -> bool:
        if self.ended or self._is_wedged():
            return False
        ready = [client.has_room() for client in self._clients]
        return any(ready) if self._manners.drops_when_shared and ready else all(ready)

    def _is_wedged(self) -> bool:
        return self._manners.wedges_on_unread_input and len(self._unsent) > _SPARE_INPUT_BYTES

    def _resume(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._master, self._on_output)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._master)

    def _on_output(self) -> None:
        try:
            data = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if not data:
            self.end()
            return
        if self._manners.doubles_returns:
            data = data.replace(b"\n", b"\r\n")
        self._quiet = False
        self._distribute(data)
        if not self._may_read():
            self._pause()

    def _distribute(self, data: bytes) -> None:
        drops = self._manners.drops_when_shared and len(self._clients) > 1
        for client, allowance in tuple(self._clients.items()):
            if not drops or (client.has_room() and allowance.take(len(data))):
                client.deliver(data)

    def _flush(self) -> None:
        try:
            sent = os.write(self._master, self._unsent)
            del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:  # EIO: nobody has the terminal open any more
            self._unsent.clear()
        if self._unsent:
            self._loop.add_writer(self._master, self._flush)
        else:
            self._loop.remove_writer(self._master)
        if self._may_read():
            self._resume()
        else:
            self._pause()
