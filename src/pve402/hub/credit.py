"""How far a program's output may run ahead of its reader. Sans-I/O.

The agent stops a stream of output after `WINDOW` encoded bytes that nobody has read, and goes on
once it is told of a higher limit. So a slow reader stops the program in the guest, and a guest
that ignores its limit is found out before it fills our memory.
"""

from collections import deque

from pve402.hub import errors

#: What the agent sends unread; its variable W.
WINDOW = 256 * 1024


class Credit:
    """The limit of one stream of one program, in bytes as they are encoded."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, int]] = deque()
        self._sent = 0
        self._read = 0
        self._read_of_first = 0
        self._limit = WINDOW

    def arrived(self, size: int, encoded_size: int) -> None:
        """A piece has arrived. Raises OutputDamaged if the agent would have waited before it."""
        if self._sent >= self._limit:
            raise errors.OutputDamaged
        self._sent += encoded_size
        self._pieces.append((size, encoded_size))

    def read(self, size: int) -> int | None:
        """Somebody has read so many bytes; returns the limit to tell the agent of, if any."""
        self._read_of_first += size
        while self._pieces and self._read_of_first >= self._pieces[0][0]:
            first_size, encoded_size = self._pieces.popleft()
            self._read_of_first -= first_size
            self._read += encoded_size
        if self._read + WINDOW - self._limit < WINDOW // 2:
            return None
        self._limit = self._read + WINDOW
        return self._limit
