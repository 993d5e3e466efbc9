"""The control API: what it refuses, and how it lists."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import e2b_gateway
from tests.support.e2b_gateway import SANDBOX_ID, Gateway

from pve402 import client
from pve402.e2b import records


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway whose service cannot be reached: a refusal is no answer of the service."""
    async with (
        client.Client("http://127.0.0.1:1", token="t" * 20) as service,
        e2b_gateway.running(tmp_path, service) as made,
    ):
        yield made


REFUSED: tuple[tuple[Any, int, str], ...] = (
    ({"network": {"denyOut": ["0.0.0.0/0"]}}, 400, "network"),
    ({"network": {"allowOut": ["1.1.1.1"]}}, 400, "network"),
    ({"network": {"rules": {"a": [{"b": "c"}]}}}, 400, "network"),
    ({"network": {"allowPublicTraffic": False}}, 400, "network"),
    ({"network": "none"}, 400, "network"),
    ({"allow_internet_access": False}, 400, "internet"),
    ({"allowInternetAccess": False}, 400, "internet"),
    ({"autoPause": True}, 400, "paused"),
    ({"autoResume": {"enabled": True}}, 400, "paused"),
    ({"iam": {"tokens": {"a": {}}}}, 400, "identity"),
    ({"mcp": {"browserbase": {"apiKey": "x"}}}, 400, "MCP"),
    ({"volumeMounts": [{"name": "v"}]}, 400, "volumes"),
    ({"templateID": "desktop"}, 404, "template 'desktop' not found; there is base"),
    ({"templateID": 3}, 400, "templateID"),
    ({"timeout": -1}, 400, "timeout"),
    ({"timeout": 10**9}, 400, "timeout"),
    ({"timeout": "60"}, 400, "timeout"),
    ({"metadata": {"a": 1}}, 400, "metadata"),
    ({"metadata": {"a": "x" * 9000}}, 400, "metadata"),
    ({"envVars": ["A=1"]}, 400, "envVars"),
    ([], 400, "JSON object"),
)


async def test_what_is_not_offered_is_refused(gateway: Gateway) -> None:
    for wish, status, why in REFUSED:
        answered, said, headers = await gateway.ask("POST", "/v2/sandboxes", json=wish)

        assert (answered, said["code"]) == (status, status), wish
        assert why in said["message"]
        assert headers["Should-Retry"] == "false"


@pytest.mark.parametrize(
    "wish",
    [
        {"network": None, "autoPause": False, "autoResume": {"enabled": False}, "iam": {}},
        {"allow_internet_access": True, "volumeMounts": [], "secure": True, "unknown": 1},
    ],
)
async def test_fields_that_ask_for_nothing_are_let_pass(gateway: Gateway, wish: Any) -> None:
    """Only then is the service asked, which cannot be reached here."""
    status, said, _ = await gateway.ask("POST", "/sandboxes", json=wish)

    assert status == 500
    assert "127.0.0.1:1" in said["message"]


async def test_every_refusal_is_typed(gateway: Gateway) -> None:
    cases = (
        ("POST", f"/sandboxes/{SANDBOX_ID}/pause", 501),
        ("POST", f"/sandboxes/{SANDBOX_ID}/snapshots", 501),
        ("POST", f"/sandboxes/{SANDBOX_ID}/fork", 501),
        ("PUT", f"/sandboxes/{SANDBOX_ID}/network", 501),
        ("GET", f"/sandboxes/{SANDBOX_ID}/metrics", 501),
        ("POST", "/v3/templates", 501),
        ("POST", "/volumes", 501),
        ("GET", "/sandboxes/nosuchsandbox", 404),
        ("DELETE", "/sandboxes/nosuchsandbox", 404),
        ("GET", "/v2/sandboxes?limit=many", 400),
        ("GET", "/v2/sandboxes?startedAfter=noon", 400),
    )
    for method, path, status in cases:
        answered, said, _ = await gateway.ask(method, path)

        assert (answered, said["code"]) == (status, status), path
        assert said["message"]


async def test_sandboxes_are_listed_by_what_is_asked_for(gateway: Gateway) -> None:
    names = ["l" + str(number) * 25 for number in range(1, 4)]
    now = time.time()
    for age, name in reversed(list(enumerate(names))):
        metadata = {"who": "a b" if age else "c", "all": "yes"}
        one = e2b_gateway.noted(name, started_at=now - age, metadata=metadata)
        gateway.kept.keep(one)

    async def listed(query: str) -> list[str]:
        _, said, _ = await gateway.ask("GET", f"/v2/sandboxes{query}")
        return [one["sandboxID"] for one in said]

    assert await listed("") == names
    assert await listed("?order=asc") == names[::-1]
    assert await listed("?metadata=who%3Da%2520b%26all%3Dyes") == names[1:]
    assert await listed("?state=paused") == []
    assert await listed("?template=other") == []
    since = records.moment(now - 0.5).replace("Z", "%2B00:00")
    assert await listed(f"?startedAfter={since}") == names[:1]
    assert await listed("?startedAfter=0001-01-01T00:00:00Z") == names
    _, _, headers = await gateway.ask("GET", "/v2/sandboxes?limit=2")
    assert headers["x-next-token"] == "2"
    assert await listed("?limit=2&nextToken=2") == names[2:]


async def test_the_newest_comes_first_though_the_services_time_steps_back(gateway: Gateway) -> None:
    now = time.time()
    names = [SANDBOX_ID, SANDBOX_ID[:-1] + "z"]
    for name, started_at in zip(names, (now, now - 0.5), strict=True):
        gateway.kept.keep(e2b_gateway.noted(name, started_at=started_at))

    _, said, _ = await gateway.ask("GET", "/v2/sandboxes")

    assert [one["sandboxID"] for one in said] == names[::-1]


async def test_what_is_over_is_not_shown(gateway: Gateway) -> None:
    gateway.kept.keep(e2b_gateway.noted(ends_at=time.time() - 1))

    assert (await gateway.ask("GET", "/v2/sandboxes"))[1] == []
    assert (await gateway.ask("GET", f"/sandboxes/{SANDBOX_ID}"))[0] == 404


async def test_a_restart_forgets_no_sandbox(gateway: Gateway, tmp_path: Path) -> None:
    one = e2b_gateway.noted(metadata={"a": "b"}, envs={"C": "d"})
    gateway.kept.keep(one)

    again = records.Records("http://127.0.0.1:1", tmp_path / "e2b.sqlite3")
    other = records.Records("http://127.0.0.1:2", tmp_path / "e2b.sqlite3")

    assert again.all() == [one]
    assert other.all() == []
