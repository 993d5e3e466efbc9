"""How much a guest has sent that its agent never sends. Sans-I/O.

The root of a guest can write whatever it likes to the terminal, frames of our session among it.
A few such things happen without malice: an administrator who looks on makes holes in the output,
frames come late from a program that was given up. So offences are counted in a bucket that
leaks, and a guest whose bucket is full has its session ended.
"""

#: So many grave offences at once end the session; one a second is forgotten.
LIMIT = 16.0
_LEAK_PER_SECOND = 1.0

#: A frame that is damaged, forged, or not ours.
GRAVE = 1.0
#: A key typed by somebody else: an administrator may hold one down.
STRANGER = 0.02
#: A frame that could be a late one: some thousand may be on their way when a program is given up.
LATE = 0.002


class Offences:
    """The bucket of one session; times are arguments, in seconds."""

    def __init__(self, now: float) -> None:
        self._level = 0.0
        self._seen_at = now

    def add(self, weight: float, now: float) -> bool:
        """Count an offence; True if there were too many."""
        leaked = (now - self._seen_at) * _LEAK_PER_SECOND
        self._level = max(0.0, self._level - leaked) + weight
        self._seen_at = now
        return self._level > LIMIT
