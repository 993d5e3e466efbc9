"""Bodies of creations may be large, but strangers have few places for them."""

import asyncio
import re
from typing import Any

import pytest
from starlette.routing import Route
from tests.support.api_fixtures import Api
from tests.support.asgi import Asgi
from tests.support.held_service import HeldService

from pve402.api.transport import body, guard, large_bodies

LIMITS = guard.GuardLimits(
    requests=1000, paid_requests=80, request_seconds=5, paid_request_seconds=5
)
LARGE = b"x" * (body.MAX_BYTES + 1)
CREATIONS = {"/lease/container", "/lease/quote", "/owed/{owedId}/redeem"}
PARAMETER = re.compile(r"\{[^}]*\}")


@pytest.fixture
def service() -> HeldService:
    return HeldService(read=large_bodies.read)


@pytest.fixture
def made(service: HeldService) -> guard.Guard:
    return guard.Guard(service, limits=LIMITS)


async def under_way(made: guard.Guard, addresses: int, each: int) -> list[asyncio.Task[Any]]:
    """Start requests with large bodies, and return those that wait for their answer."""
    clients = [Asgi(made, client=(f"198.51.100.{number}", 1)) for number in range(addresses)]
    tasks = [asyncio.create_task(one.post("/", LARGE)) for one in clients for _ in range(each)]
    async with asyncio.timeout(30):
        while waiting(made) + sum(one.done() for one in tasks) < len(tasks):  # noqa: ASYNC110
            await asyncio.sleep(0)
    return tasks


def waiting(made: guard.Guard) -> int:
    """How many requests have been read and wait for their answer."""
    return made.large.under_way + made.known.under_way


async def ended(tasks: list[asyncio.Task[Any]], service: HeldService) -> list[str | None]:
    service.go.set()
    replies = await asyncio.gather(*tasks)
    return [None if reply.status == 200 else reply.code for reply in replies]


async def test_one_address_has_few_places_for_large_bodies(made: guard.Guard, service: HeldService):
    noisy = await under_way(made, 1, 40)

    quiet = Asgi(made, client=("203.0.113.1", 1))
    others = [asyncio.create_task(quiet.post("/", LARGE)) for _ in range(3)]
    small = asyncio.create_task(Asgi(made, client=("198.51.100.0", 1)).post("/", LARGE[1:]))
    codes = await ended([*noisy, *others, small], service)

    assert codes.count("too_many_requests") == 40 - made.large.share == 24
    assert codes[40:] == [None] * 4


async def test_all_addresses_together_have_few_places_for_large_bodies(
    made: guard.Guard, service: HeldService
):
    tasks = await under_way(made, 20, 8)
    assert made.large.under_way == made.large.limit == 128

    codes = await ended(tasks, service)

    assert (codes.count(None), codes.count("overloaded")) == (128, 32)
    assert made.large.under_way == made.under_way == 0


async def test_a_known_caller_gives_the_place_up(made: guard.Guard, service: HeldService):
    service.party = "wallet"

    tasks = await under_way(made, 1, 20)

    assert (made.large.under_way, made.known.under_way) == (0, 20)
    assert await ended(tasks, service) == [None] * 20
    assert made.known.under_way == 0


async def test_a_client_that_leaves_gives_the_place_up(made: guard.Guard):
    tasks = await under_way(made, 1, 3)
    assert made.large.under_way == 3

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert made.large.under_way == 0


async def test_only_creations_read_large_bodies_of_strangers(api: Api):
    taken = {
        path
        for path, method in sorted(_bodied(api))
        if await _bytes_read(api, method, path) > body.MAX_BYTES + 2048
    }

    assert taken == CREATIONS


def _bodied(api: Api) -> set[tuple[str, str]]:
    routes = [route for route in api.app.routes if isinstance(route, Route)]
    methods = {"POST", "PUT", "PATCH", "DELETE"}
    return {(route.path, name) for route in routes for name in methods & (route.methods or set())}


async def _bytes_read(api: Api, method: str, path: str) -> int:
    """How much of an endless body a route reads before it answers."""
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1024
        return {"type": "http.request", "body": b" " * 1024, "more_body": True}

    async def send(_message: Any) -> None:
        return

    scope = api.client._scope(method, PARAMETER.sub("10000", path), [], 0)
    await api.app(scope, receive, send)
    return read
