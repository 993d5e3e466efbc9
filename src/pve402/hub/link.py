"""The numbered lines to the agent: turns, window, acknowledgement and retransmission.

Sans-I/O: lines go in, bytes for the terminal come out, and acknowledgements arrive as numbers.
At most `SAFE_UNREAD_BYTES`, headers included, are in flight unacknowledged: beyond that
termproxy loses packets, and a flooding guest could wedge the chain.

Each line begins and ends with the same token, its number and length. So no single loss, within
a line or across several, leaves a line with a body that we did not send.

Lines wait in lanes, one per channel. Lanes take turns, so a long command does not delay
others; lines keep their order within a lane.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from pve402.proxmox import termproxy

#: Longest line; two of them fit in the window.
LONGEST_LINE = 1850
#: With at least this many bytes unacknowledged, a line asks for an acknowledgement.
_ASK_BYTES = 1200
#: How often we resend one line before we give up the session.
_LARGEST_ATTEMPTS = 5
_ASK = b";a"
#: All complaints about one loss arrive within this time.
_COMPLAINTS_SECONDS = 0.1


class LinkBroken(Exception):
    """A line does not reach the agent, even when resent."""


@dataclass(kw_only=True)
class _Line:
    sequence: int
    wire: bytes = field(repr=False)
    attempts: int = 0
    sent_at: float = 0.0
    asks: bool = False

    @property
    def cost(self) -> int:
        return len(self.wire) + termproxy.HEADER_BYTES


class Link:
    """Numbers the lines of one session and delivers each one once and in order."""

    def __init__(
        self, nonce: str, *, window_bytes: int = termproxy.SAFE_UNREAD_BYTES, again_seconds: float
    ) -> None:
        self._nonce = nonce.encode()
        self._window = window_bytes
        self._again_seconds = again_seconds
        self._lanes: OrderedDict[int, deque[bytes]] = OrderedDict()
        self._flying: deque[_Line] = deque()
        self._next = 0
        self._resend = False

    @property
    def unacknowledged_bytes(self) -> int:
        """Bytes in flight, headers included."""
        return sum(line.cost for line in self._flying)

    @property
    def has_waiting(self) -> bool:
        """Whether lines wait to be sent."""
        return bool(self._lanes) or self._resend

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait to be sent."""
        return sum(len(body) for lane in self._lanes.values() for body in lane)

    @property
    def awaits_acknowledgement(self) -> bool:
        """Whether the agent owes us an acknowledgement."""
        return any(line.asks for line in self._flying)

    def put(self, body: bytes, lane: int = -1) -> None:
        """Queue one line of shell text for the agent at the end of its lane."""
        if len(body) > LONGEST_LINE:
            raise ValueError("the line is too long")
        self._lanes.setdefault(lane, deque()).append(body)

    def take(self, now: float) -> bytes:
        """What may be sent now, as the contents of one packet."""
        packet = bytearray()
        if self._resend:
            self._resend = False
            for line in self._flying:
                packet += self._send(line, now)
        while self._lanes:
            lane = next(iter(self._lanes))
            line = self._number(self._lanes[lane][0])
            if self._flying and self.unacknowledged_bytes + line.cost > self._window:
                break
            self._take_turn(lane)
            self._next += 1
            self._flying.append(line)
            packet += self._send(line, now)
        return bytes(packet)

    def acknowledge(self, sequence: int) -> bool:
        """The agent has executed every line before `sequence`; returns whether that is new.

        Raises LinkBroken for a number that we never sent.
        """
        if sequence > self._next:
            raise LinkBroken("a line was acknowledged that was never sent")
        is_news = False
        while self._flying and self._flying[0].sequence < sequence:
            self._flying.popleft()
            is_news = True
        return is_news

    def expect(self, sequence: int, now: float) -> None:
        """The agent is waiting for line `sequence`: resend it and all lines after it.

        Raises LinkBroken for a number that we never sent; `take` when it happens too often.
        """
        self.acknowledge(sequence)
        oldest = self._flying[0] if self._flying else None
        if oldest is None:
            return
        # The agent complains about every line after a lost one; one resend answers them all.
        self._resend |= oldest.attempts == 1 or now - oldest.sent_at > _COMPLAINTS_SECONDS

    def next_deadline(self) -> float | None:
        """When to call `expire`, because an acknowledgement will be overdue."""
        asked = [line.sent_at for line in self._flying if line.asks or line.attempts > 1]
        return min(asked) + self._again_seconds if asked else None

    def expire(self, now: float) -> None:
        """Resend what should have been acknowledged by now."""
        deadline = self.next_deadline()
        if deadline is not None and now >= deadline:
            self._resend = True

    def _take_turn(self, lane: int) -> None:
        """Take the first line of a lane; the lane then goes to the back of the queue."""
        self._lanes[lane].popleft()
        if self._lanes[lane]:
            self._lanes.move_to_end(lane)
        else:
            del self._lanes[lane]

    def _number(self, body: bytes) -> _Line:
        asks = self.unacknowledged_bytes + len(body) > _ASK_BYTES
        body = body + _ASK if asks else body
        token = b"%d.%d" % (self._next, len(body))
        wire = b"%b %b %b %b\r" % (self._nonce, token, body, token)
        return _Line(sequence=self._next, wire=wire, asks=asks)

    def _send(self, line: _Line, now: float) -> bytes:
        if line.attempts >= _LARGEST_ATTEMPTS:
            raise LinkBroken("a line does not get through")
        line.attempts += 1
        line.sent_at = now
        # The first newline ends anything somebody else may have typed.
        return line.wire if line.attempts == 1 else b"\r" + line.wire
