"""Everything that ever changed the chain's state, so that any older state can be had again.

States are not stored. An older one is made by playing the changes again up to there, which
serves reads of the past, snapshots and reorganisations alike; a thousand transactions take
about 50 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pve402_devnet.chain.evm import Evm

Apply = Callable[[Evm], object]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of state; a planted one was written from outside, not by a transaction."""

    apply: Apply
    planted: bool


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment to go back to."""

    height: int
    changes: tuple[Change, ...]


class History:
    """The changes of one chain, cut into blocks, and the state that they lead to."""

    def __init__(self, chain_id: int) -> None:
        self._chain_id = chain_id
        self._changes: list[Change] = []
        self._ends: list[int] = []
        self._past: tuple[int, Evm] | None = None
        self.state = Evm(chain_id)

    def plant(self, apply: Apply) -> None:
        """Write to the newest state from outside."""
        apply(self.state)
        self._changes.append(Change(apply=apply, planted=True))

    def record(self, apply: Apply) -> None:
        """Note what a transaction did; it has been applied to the newest state already."""
        self._changes.append(Change(apply=apply, planted=False))

    def end_block(self) -> None:
        """Everything so far belongs to the blocks up to this one."""
        self._ends.append(len(self._changes))

    def state_after(self, height: int) -> Evm:
        """The state after an older block; the last one asked for is kept."""
        if self._past is None or self._past[0] != height:
            self._past = (height, self._play(self._changes[: self._ends[height]]))
        return self._past[1]

    def mark(self) -> Mark:
        """Remember the present."""
        return Mark(height=len(self._ends), changes=tuple(self._changes))

    def return_to(self, mark: Mark) -> None:
        """Make that moment the present again."""
        self._rewrite(mark.height, list(mark.changes))

    def drop_blocks(self, height: int) -> None:
        """Keep that many blocks, and of what came later only what was planted."""
        end = self._ends[height - 1]
        later = [change for change in self._changes[end:] if change.planted]
        self._rewrite(height, self._changes[:end] + later)

    def _rewrite(self, height: int, changes: list[Change]) -> None:
        del self._ends[height:]
        self._changes = changes
        self._past = None
        self.state = self._play(changes)

    def _play(self, changes: list[Change]) -> Evm:
        state = Evm(self._chain_id)
        for change in changes:
            change.apply(state)
        return state
