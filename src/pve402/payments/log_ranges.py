"""How many blocks of events a node is asked for at once.

Nodes limit the range of a query, each with its own limit and its own error. So any error halves the
range, down to one block. An error may also pass, so that a range which is answered for a while is
doubled: at once again where that is answered, and after twice as long where it is refused.
"""

from typing import Final

MOST_BLOCKS: Final = 1000
_LEAST_PATIENCE: Final = 64
_MOST_PATIENCE: Final = 4096


class LogRange:
    """The range that one node answers, as far as we know."""

    def __init__(self) -> None:
        self.blocks = MOST_BLOCKS
        self._answers = 0  # to queries of the whole range, since it has changed
        self._patience = _LEAST_PATIENCE  # so many answers, then we try twice the range
        self._is_trial = False  # whether the range has just been doubled

    def refused(self, blocks: int) -> None:
        """Note that a query of more than one block was refused."""
        if self._is_trial:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
        self.blocks = max(1, blocks // 2)
        self._answers = 0
        self._is_trial = False

    def answered(self, blocks: int) -> None:
        """Note that a query was answered; a narrower one than we may ask says nothing."""
        if blocks < self.blocks or self.blocks == MOST_BLOCKS:
            return
        self._answers += 1
        if self._is_trial:
            self._patience = _LEAST_PATIENCE
        if self._is_trial or self._answers >= self._patience:
            self.blocks = min(2 * self.blocks, MOST_BLOCKS)
            self._answers = 0
            self._is_trial = True
