"""Counts what a guest sends that its agent never sends. Sans-I/O.

Root in a guest can write anything to the terminal, including frames of our session. Some of this
happens without malice: an administrator watching the terminal leaves gaps in our output, and
frames may arrive late from a program we gave up on. So we count offences in a leaky bucket and
end the session of a guest whose bucket is full.
"""

#: This many grave offences at once end the session; one is forgotten every second.
LIMIT = 16.0
_LEAK_PER_SECOND = 1.0

#: A frame that is damaged, forged, or not ours.
GRAVE = 1.0
#: A key typed by somebody else: an administrator may hold one down.
STRANGER = 0.02
#: A frame that may just be late: about a thousand may be in flight when we give up on a program.
LATE = 0.002


class Offences:
    """The bucket of one session; times are arguments, in seconds."""

    def __init__(self, now: float) -> None:
        self._level = 0.0
        self._seen_at = now

    def add(self, weight: float, now: float) -> bool:
        """Count an offence; True if there are now too many."""
        leaked = (now - self._seen_at) * _LEAK_PER_SECOND
        self._level = max(0.0, self._level - leaked) + weight
        self._seen_at = now
        return self._level > LIMIT
