"""How often the keeper of images looks at the database."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typing_extensions import override

from pve402.domain import errors
from pve402.leases.images import image_keeper


class Keeper(image_keeper.ImageKeeper):
    """A keeper whose looks come out as given, and then find nothing to keep."""

    def __init__(self, outcomes: list[bool | Exception]) -> None:
        self.replaced: list[Callable[[], None]] = []
        selling = SimpleNamespace(when_replaced=self.replaced.append)
        nothing = cast("Any", None)
        super().__init__(nothing, nothing, nothing, cast("Any", selling))
        self.outcomes = outcomes
        self.looks = 0

    @override
    async def run_once(self) -> bool:
        self.looks += 1
        outcome = self.outcomes.pop(0) if self.outcomes else False
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def test_with_nothing_to_keep_it_rests_until_the_catalogue_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_keeper, "INTERVAL_SECONDS", 0.0)
    keeper = Keeper([True, errors.TryLater(), True])
    keeper.start()

    rested = await looks_in_a_while(keeper)
    keeper.replaced[0]()
    woken = await looks_in_a_while(keeper)
    await keeper.stop()

    assert (rested, woken) == (4, 5)


async def looks_in_a_while(keeper: Keeper) -> int:
    """How often it has looked once it had every chance to."""
    for _ in range(100):
        await asyncio.sleep(0)
    return keeper.looks
