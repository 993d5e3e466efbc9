"""The byte protocol of termproxy, without I/O.

A client first sends one line, `USER:TICKET`. termproxy answers `OK` without a newline, perhaps
followed by output. From then on the client sends packets and receives the terminal's raw output.

    0:LENGTH:BYTES    input for the terminal, LENGTH in bytes
    1:COLUMNS:ROWS:   the size of the client's window
    2                 nothing; makes the other side acknowledge what it sent

Source: termproxy 2.1 (`src/main.rs`), and sessions recorded on Proxmox VE 9.2.
"""

import re

#: The most input bytes, headers included, that may be unread at once: termproxy reads 4,096 bytes
#: at a time and loses a packet if a read splits its header.
SAFE_UNREAD_BYTES = 3800
#: The most a header adds to its packet, as long as packets stay below 4,096 bytes.
HEADER_BYTES = len(b"0:4096:")
#: An empty packet.
NO_OPERATION = b"2"
#: The terminal's size is two 16-bit numbers; larger ones wrap.
LARGEST_SIDE = 500
SMALLEST_SIDE = 2

_GREETING = b"OK"
_ESCAPE = b"\x1b"
#: dtach 0.9 (`attach.c`) moves the cursor before it prints its exit message.
_TRAILER = re.compile(
    rb"\x1b\[999H\r*\n\[(EOF - dtach terminating|detached|read returned an error)\]"
)
_LONGEST_TRAILER = 64


class ProtocolViolation(Exception):
    """The other side does not speak the termproxy protocol."""


def auth_line(user: str, ticket: str) -> bytes:
    """The first line of a session. The ticket is valid for 40 s and one client."""
    if "\n" in user + ticket:
        raise ValueError("a user or ticket must not contain a newline")
    return f"{user}:{ticket}\n".encode()


def input_packet(data: bytes) -> bytes:
    """Wrap bytes for the terminal in one packet."""
    return b"0:%d:%b" % (len(data), data)


def resize_packet(columns: int, rows: int) -> bytes:
    """Announce a window size, clamped to the sizes a terminal can have."""
    return b"1:%d:%d:" % clamp_size(columns, rows)


def clamp_size(columns: int, rows: int) -> tuple[int, int]:
    """Clamp a window size to what fits the 16-bit fields."""
    return _clamp(columns), _clamp(rows)


def find_trailer(output: bytes) -> str | None:
    """Find dtach's exit message in output: the session is over, even with the socket open."""
    start = output.find(_ESCAPE)  # searching for one byte is much faster than for a pattern
    match = _TRAILER.search(output, start) if start >= 0 else None
    return match.group(1).decode() if match else None


class TrailerFinder:
    """Finds dtach's exit message in output that arrives in pieces."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, output: bytes) -> str | None:
        """Take more output; returns the message once it is complete."""
        seam = self._tail + output[:_LONGEST_TRAILER]
        if len(output) < _LONGEST_TRAILER:
            self._tail = seam[-_LONGEST_TRAILER:]
            return find_trailer(seam)
        self._tail = output[-_LONGEST_TRAILER:]
        return find_trailer(seam) or find_trailer(output)


class SingleReturns:
    """Turns the chain's `\\r\\r\\n` back into the guest's `\\r\\n`, wherever the output is cut.

    The chain writes `\\r\\n` for each `\\n`, even if the guest's terminal already added a `\\r`. A
    `\\n` without its own `\\r` keeps the chain's.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, output: bytes) -> bytes:
        """Take output; returns as much of it, and of what was held back, as is certain."""
        if not self._held and b"\r" not in output:
            return output
        output = self._held + output
        settled = output.rstrip(b"\r")
        # Only the last two of several returns in a row can belong to a `\n`.
        held = min(len(output) - len(settled), 2)
        self._held = b"\r" * held
        return output[: len(output) - held].replace(b"\r\r\n", b"\r\n")

    def rest(self) -> bytes:
        """What is still held back at the end of all output."""
        held, self._held = self._held, b""
        return held


class GreetingReader:
    """Reads the `OK` before the output, wherever the input is cut."""

    def __init__(self) -> None:
        self._missing = _GREETING

    @property
    def accepted(self) -> bool:
        """Whether termproxy accepted the authentication line."""
        return not self._missing

    def feed(self, data: bytes) -> bytes:
        """Take received bytes; returns the terminal output among them.

        Raises ProtocolViolation for any other greeting.
        """
        head = data[: len(self._missing)]
        if not self._missing.startswith(head):
            raise ProtocolViolation("the answer to the authentication line is not OK")
        self._missing = self._missing[len(head) :]
        return data[len(head) :]


def _clamp(side: int) -> int:
    return max(SMALLEST_SIDE, min(LARGEST_SIDE, side))
