"""The byte protocol of termproxy, without I/O.

A client first sends one line, `USER:TICKET`, and is answered `OK` without a newline, perhaps
with output behind it. From then on it sends packets and receives the terminal's bare output.

    0:LENGTH:BYTES    input for the terminal, LENGTH in bytes
    1:COLUMNS:ROWS:   the size of the client's window
    2                 nothing; makes the other side acknowledge what it sent

Source: termproxy 2.1 (`src/main.rs`), and sessions recorded on Proxmox VE 9.2.
"""

import re

#: The most input bytes, headers included, that may wait unread: termproxy reads 4,096 bytes at a
#: time and loses a packet whose header it splits.
SAFE_UNREAD_BYTES = 3800
#: What a header adds to its packet at most, while packets stay below 4,096 bytes.
HEADER_BYTES = len(b"0:4096:")
#: Packet that carries nothing.
NO_OPERATION = b"2"
#: The terminal's size is two 16-bit numbers; larger ones wrap.
LARGEST_SIDE = 500
SMALLEST_SIDE = 2

_GREETING = b"OK"
_ESCAPE = b"\x1b"
#: dtach 0.9 (`attach.c`) moves the cursor away before its last words.
_TRAILER = re.compile(
    rb"\x1b\[999H\r*\n\[(EOF - dtach terminating|detached|read returned an error)\]"
)
_LONGEST_TRAILER = 64


class ProtocolViolation(Exception):
    """The other side does not speak the protocol of termproxy."""


def auth_line(user: str, ticket: str) -> bytes:
    """The first line of a session. The ticket is valid 40 s for one client."""
    if "\n" in user + ticket:
        raise ValueError("a user or ticket holds no newline")
    return f"{user}:{ticket}\n".encode()


def input_packet(data: bytes) -> bytes:
    """Wrap bytes for the terminal into one packet."""
    return b"0:%d:%b" % (len(data), data)


def resize_packet(columns: int, rows: int) -> bytes:
    """Announce a window size, clamped to what a terminal can be."""
    return b"1:%d:%d:" % clamp_size(columns, rows)


def clamp_size(columns: int, rows: int) -> tuple[int, int]:
    """Bring a window size into the bounds that survive the 16-bit fields."""
    return _clamp(columns), _clamp(rows)


def find_trailer(output: bytes) -> str | None:
    """Find the last words of dtach in output: the session is over, whatever the socket says."""
    start = output.find(_ESCAPE)  # a single byte is found much faster than a pattern
    match = _TRAILER.search(output, start) if start >= 0 else None
    return match.group(1).decode() if match else None


class TrailerFinder:
    """Finds dtach's last words in output that arrives in pieces."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, output: bytes) -> str | None:
        """Look at more output; returns the words once they are complete."""
        seam = self._tail + output[:_LONGEST_TRAILER]
        if len(output) < _LONGEST_TRAILER:
            self._tail = seam[-_LONGEST_TRAILER:]
            return find_trailer(seam)
        self._tail = output[-_LONGEST_TRAILER:]
        return find_trailer(seam) or find_trailer(output)


class SingleReturns:
    """Turns the `\\r\\r\\n` of the chain back into the guest's `\\r\\n`, however output is cut.

    The chain writes `\\r\\n` for each `\\n`, whatever the guest's terminal has done before. A `\\n`
    without a `\\r` of its own keeps the chain's.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, output: bytes) -> bytes:
        """Take output; returns what of it, and of what was held before, is settled."""
        if not self._held and b"\r" not in output:
            return output
        output = self._held + output
        settled = output.rstrip(b"\r")
        # Of several returns in a row only the last two can belong to a `\n`.
        held = min(len(output) - len(settled), 2)
        self._held = b"\r" * held
        return output[: len(output) - held].replace(b"\r\r\n", b"\r\n")

    def rest(self) -> bytes:
        """What is held at the end of all output."""
        held, self._held = self._held, b""
        return held


class GreetingReader:
    """Reads `OK` in front of the output, however it is cut."""

    def __init__(self) -> None:
        self._missing = _GREETING

    @property
    def accepted(self) -> bool:
        """Whether the authentication line was accepted."""
        return not self._missing

    def feed(self, data: bytes) -> bytes:
        """Take received bytes; returns what of them is output of the terminal.

        Raises ProtocolViolation for any other greeting.
        """
        head = data[: len(self._missing)]
        if not self._missing.startswith(head):
            raise ProtocolViolation("the answer to the authentication line is not OK")
        self._missing = self._missing[len(head) :]
        return data[len(head) :]


def _clamp(side: int) -> int:
    return max(SMALLEST_SIDE, min(LARGEST_SIDE, side))
