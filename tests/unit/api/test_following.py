"""A command that was started as events ends once nobody follows it any more."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.support import fake_leases
from tests.support.simulated_time import simulated_time

from pve402.api.messages import commands, following
from pve402.api.transport import sse
from pve402.hub.execution import Execution
from pve402.hub.request import EventKind, ExecRequest

__all__ = ["simulated_time"]

pytestmark = pytest.mark.usefixtures("simulated_time")
LEASE = fake_leases.make_lease("eip155:84532:0x0000000000000000000000000000000000000001")
ENOUGH = following.LEFT_SECONDS + 1


@pytest.fixture
async def execution() -> Execution:
    clock = asyncio.get_running_loop().time
    return Execution("e" + "0" * 24, ExecRequest(command="sleep 600"), clock=clock)


async def read(stream: AsyncGenerator[bytes], count: int = 1) -> AsyncGenerator[bytes]:
    for _ in range(count):
        await anext(stream)
    return stream


async def test_it_runs_on_while_it_is_followed(execution: Execution) -> None:
    stream = await read(following.events(LEASE, execution))

    await asyncio.sleep(10 * ENOUGH)

    assert not execution.cancelled
    await stream.aclose()


@pytest.mark.parametrize("how", ["closed", "cancelled", "in a response", "unread"])
async def test_it_ends_a_while_after_its_client_left(execution: Execution, how: str) -> None:
    stream = await read(following.events(LEASE, execution))
    if how == "closed":
        await stream.aclose()
    elif how == "unread":
        del stream
    elif how == "cancelled":
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    else:
        chunks = aiter(sse.respond(stream).body_iterator)
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    await asyncio.sleep(following.LEFT_SECONDS - 5)
    assert not execution.cancelled
    await asyncio.sleep(6)
    assert execution.cancelled


@pytest.mark.parametrize("after", [1, 30, 59])
async def test_a_client_that_comes_back_keeps_it(execution: Execution, after: int) -> None:
    await (await read(following.events(LEASE, execution))).aclose()
    await asyncio.sleep(after)

    again = await read(commands.events(LEASE, execution, 0))
    await asyncio.sleep(5 * ENOUGH)
    assert not execution.cancelled
    await again.aclose()


@pytest.mark.parametrize("every", [1, 20, 50])
async def test_who_looks_at_it_now_and_then_keeps_it(execution: Execution, every: int) -> None:
    await (await read(following.events(LEASE, execution))).aclose()
    for _ in range(10):
        await asyncio.sleep(every)
        execution.look()
    assert not execution.cancelled

    await asyncio.sleep(ENOUGH)

    assert execution.cancelled


async def test_what_has_ended_is_left_alone(execution: Execution) -> None:
    stream = await read(following.events(LEASE, execution))
    execution.add_output(EventKind.STDOUT, b"out")
    execution.finish(0)
    await stream.aclose()

    await asyncio.sleep(ENOUGH)

    assert not execution.cancelled
