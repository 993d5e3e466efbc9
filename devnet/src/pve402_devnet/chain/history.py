"""The newest state, divided into blocks, and access to any older state.

States are not stored: the accounts can undo their changes, so an older moment is a position in
their log. Direct writes are kept separately, and applied again when blocks are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pve402_devnet.chain.evm import Evm

Plant = Callable[[Evm], None]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment to return to."""

    height: int
    position: int
    plants: int


class History:
    """The state of one chain and the ends of its blocks."""

    def __init__(self, chain_id: int) -> None:
        self._ends: list[Mark] = []
        self._plants: list[Plant] = []
        self._past: tuple[int, Evm] | None = None
        self.state = Evm(chain_id)

    def plant(self, apply: Plant) -> None:
        """Write to the newest state from outside."""
        apply(self.state)
        self._plants.append(apply)

    def end_block(self) -> None:
        """End a block: all changes so far belong to it or earlier ones."""
        self._ends.append(self.mark())

    def state_after(self, height: int) -> Evm:
        """Return the state after an older block; the last one requested is cached."""
        if self._past is None or self._past[0] != height:
            self._past = (height, self.state.copy_at(self._ends[height].position))
        return self._past[1]

    def mark(self) -> Mark:
        """Remember the present."""
        return Mark(
            height=len(self._ends), position=self.state.position(), plants=len(self._plants)
        )

    def return_to(self, mark: Mark) -> None:
        """Make that moment the present again."""
        del self._ends[mark.height :]
        del self._plants[mark.plants :]
        self._past = None
        self.state.undo(mark.position)

    def drop_blocks(self, height: int) -> None:
        """Keep that many blocks, and only the direct writes from later ones."""
        end = self._ends[height - 1]
        later = self._plants[end.plants :]
        del self._ends[height:]
        del self._plants[end.plants :]
        self._past = None
        self.state.undo(end.position)
        for apply in later:
            self.plant(apply)
