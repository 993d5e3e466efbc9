"""Of many requests that come together, those of one address start a few at a time."""

import asyncio
from typing import Any

import pytest
from tests.support.asgi import Asgi

from pve402.api.transport import guard, turns

LIMITS = guard.GuardLimits(
    requests=1000, paid_requests=100, request_seconds=5.0, paid_request_seconds=5.0
)


async def start(made: turns.Turns, party: str, started: list[str]) -> None:
    await made.wait(party)
    started.append(party)


@pytest.mark.parametrize("crowd", [9, 20, 150, 500])
@pytest.mark.parametrize(("per_turn", "from_queue"), [(1, 1), (3, 1), (8, 2), (8, 8)])
async def test_somebody_else_does_not_wait_for_the_crowd(
    crowd: int, per_turn: int, from_queue: int
) -> None:
    made, started = turns.Turns(per_turn, from_queue), list[str]()
    everybody = [start(made, "noisy", started) for _ in range(crowd)]

    async with asyncio.TaskGroup() as group:
        for one in [*everybody, start(made, "quiet", started)]:
            group.create_task(one)

    assert started.index("quiet") <= per_turn + from_queue
    assert len(started) == crowd + 1


async def test_a_few_do_not_wait_at_all() -> None:
    made, started = turns.Turns(), list[str]()

    for _ in range(turns.PER_TURN):
        await start(made, "somebody", started)

    assert len(started) == turns.PER_TURN


async def test_those_who_came_first_start_first() -> None:
    made, started = turns.Turns(2), list[int]()

    async def come(number: int) -> None:
        await made.wait("crowd")
        started.append(number)

    await asyncio.gather(*(come(number) for number in range(50)))

    assert started == list(range(50))


async def test_who_leaves_while_waiting_takes_no_turn() -> None:
    made, started = turns.Turns(1, 1), list[str]()
    tasks = [asyncio.create_task(start(made, "crowd", started)) for _ in range(10)]
    await asyncio.sleep(0)

    for task in tasks[2:8]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await start(made, "crowd", started)

    assert len(started) == 5


async def test_requests_of_a_crowd_leave_room_for_another_address() -> None:
    served: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        served.append(scope["client"][0])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    made = guard.Guard(app, limits=LIMITS)
    asked = [Asgi(made, client=("10.0.0.1", 1)).get("/") for _ in range(150)]

    await asyncio.gather(*asked, Asgi(made, client=("10.0.0.2", 1)).get("/"))

    assert served.index("10.0.0.2") <= turns.PER_TURN + turns.FROM_QUEUE
    assert len(served) == 151
