"""Connections that are kept for the next exchange."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import h11
import pytest
from tests.support import fake_leases

from pve402.api.ports.pool import IDLE_SECONDS, Pool
from pve402.api.ports.upstream import Upstream
from pve402.guests import connections

ROW = fake_leases.make_lease("eip155:84532:0x" + "1" * 40)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Connection:
    """A connection to a server that answers, and takes a while to close."""

    has_ended = False

    def __init__(self) -> None:
        self.is_closed = False

    async def read(self) -> bytes:
        return ANSWER

    async def write(self, data: bytes) -> None:
        pass

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.is_closed = True


class Work:
    """The connections of a replica that holds every terminal, and a clock."""

    def __init__(self) -> None:
        self.connections = self
        self.opened: list[Connection] = []
        self.now = 0.0
        self.is_full = False

    async def open(self, *_: Any) -> Connection:
        if self.is_full:
            raise connections.PortBusy
        self.opened.append(Connection())
        return self.opened[-1]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def pool(work: Work) -> Pool:
    return Pool(cast("Any", work), clock=lambda: work.now)


async def used(pool: Pool, port: int = 8080) -> Upstream:
    """Take a connection and ask something over it."""
    upstream = await pool.take(ROW, port, fresh=True)
    await upstream.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    await upstream.send(h11.EndOfMessage())
    await upstream.head()
    assert await upstream.body() is None
    return upstream


async def test_a_connection_is_kept_for_ten_seconds(pool: Pool, work: Work) -> None:
    await pool.give_back(ROW, 8080, await used(pool))
    work.now = IDLE_SECONDS - 1
    await pool.tidy(work.now - IDLE_SECONDS)
    kept = await pool.take(ROW, 8080, fresh=False)
    assert len(work.opened) == 1
    await pool.give_back(ROW, 8080, kept)  # it was not used: it cannot be kept
    assert work.opened[0].is_closed

    await pool.give_back(ROW, 8080, await used(pool))
    work.now += IDLE_SECONDS
    await pool.tidy(work.now - IDLE_SECONDS)

    assert work.opened[1].is_closed
    await pool.close()


async def test_one_that_is_taken_while_others_are_closed_is_in_use(pool: Pool, work: Work) -> None:
    both = [await used(pool), await used(pool)]
    for upstream in both:
        await pool.give_back(ROW, 8080, upstream)
    work.now = IDLE_SECONDS
    closing = asyncio.create_task(pool.tidy(0.0))
    await asyncio.sleep(0)

    taken = await pool.take(ROW, 8080, fresh=False)
    await closing

    assert taken not in both
    assert [each.is_closed for each in work.opened] == [True, True, False]
    await pool.close()


async def test_a_full_guest_gives_up_a_kept_connection_of_another_port(
    pool: Pool, work: Work
) -> None:
    await pool.give_back(ROW, 8080, await used(pool))
    work.is_full = True

    with pytest.raises(connections.PortBusy):
        await pool.take(ROW, 9090, fresh=False)

    assert work.opened[0].is_closed
    await pool.close()
