"""Questions that unproven callers have us ask: a few at a time for each address."""

import asyncio

import pytest

from pve402.domain import errors
from pve402.leases import questions


class Judge:
    """Stands for a chain or a facilitator, and answers when a test says so."""

    def __init__(self) -> None:
        self.asking = questions.Questions()
        self.under_way: list[str | None] = []
        self.answers = asyncio.Event()

    async def ask(self, address: str | None) -> None:
        async with self.asking.turn(address):
            self.under_way.append(address)
            await self.answers.wait()

    async def crowd(self, address: str | None, count: int) -> "list[asyncio.Task[None]]":
        tasks = [asyncio.create_task(self.ask(address)) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::/64", None])
async def test_one_address_has_a_few_questions_at_a_time(address: str | None) -> None:
    judge = Judge()
    tasks = await judge.crowd(address, 100)

    at_first = len(judge.under_way)
    judge.answers.set()
    await asyncio.gather(*tasks)

    assert (at_first, len(judge.under_way)) == (questions.AT_ONCE, 100)


async def test_another_address_does_not_wait() -> None:
    judge = Judge()
    tasks = await judge.crowd("10.0.0.1", 120)
    tasks += await judge.crowd("10.0.0.2", 1)

    assert judge.under_way[-1] == "10.0.0.2"
    judge.answers.set()
    await asyncio.gather(*tasks)


async def test_more_than_may_wait_are_refused_until_some_have_their_answers() -> None:
    judge = Judge()
    tasks = await judge.crowd("10.0.0.1", questions.MOST_CALLERS)

    with pytest.raises(questions.TooManyQuestions) as refused:
        await judge.ask("10.0.0.1")
    judge.answers.set()
    await asyncio.gather(*tasks)
    await judge.ask("10.0.0.1")

    assert refused.value.code == "too_many_requests"
    assert len(judge.under_way) == questions.MOST_CALLERS + 1


@pytest.mark.parametrize("refused", [1, 3, 8])
async def test_a_refusal_keeps_its_turn_for_a_moment(
    refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "REFUSED_PAUSE_SECONDS", 3600)
    judge = Judge()

    for _ in range(refused):
        with pytest.raises(errors.PaymentRefused):
            async with judge.asking.turn("10.0.0.1"):
                raise errors.PaymentRefused
    tasks = await judge.crowd("10.0.0.1", 20)
    tasks += await judge.crowd("10.0.0.2", 1)

    assert judge.under_way.count("10.0.0.1") == questions.AT_ONCE - refused
    assert judge.under_way[-1] == "10.0.0.2"
    for task in tasks:
        task.cancel()


async def test_after_that_moment_the_next_one_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "REFUSED_PAUSE_SECONDS", 0.001)
    judge = Judge()
    judge.answers.set()

    for _ in range(3 * questions.AT_ONCE):
        with pytest.raises(errors.PaymentRefused):
            async with judge.asking.turn("10.0.0.1"):
                raise errors.PaymentRefused
    await judge.ask("10.0.0.1")

    assert judge.under_way == ["10.0.0.1"]


async def test_who_leaves_gives_up_the_turn_or_the_place_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "REFUSED_PAUSE_SECONDS", 0)
    judge = Judge()
    tasks = await judge.crowd("10.0.0.1", questions.MOST_CALLERS)

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.001)
    again = await judge.crowd("10.0.0.1", questions.AT_ONCE)
    judge.answers.set()
    await asyncio.gather(*again)

    assert len(judge.under_way) == 2 * questions.AT_ONCE
