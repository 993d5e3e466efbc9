"""What reaches a container, from the command line: shown, chosen, closed and reset."""

import json
from typing import Any

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.unit.client.test_owed import command

ANSWER: dict[str, Any] = {
    "leaseId": tenant_service.LEASE_ID,
    "ctid": "10000",
    "isOpen": False,
    "rules": [],
    "isOwn": True,
    "holdsAt": None,
    "message": "A changed rule needs 10 seconds.",
}
SEEN: list[tuple[str, Any]] = []


async def serve(request: web.Request) -> web.StreamResponse:
    """Answer with what was sent."""
    sent = json.loads(await request.read()) if request.method == "PUT" else None
    SEEN.append((request.method, sent))
    return web.json_response(ANSWER)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), ("GET", None)),
        (("--close",), ("PUT", {"rules": []})),
        (("--reset",), ("PUT", {})),
        (
            ("--allow", "tcp/22,8000-8100", "--allow", "203.0.113.0/24=ping"),
            (
                "PUT",
                {
                    "rules": [
                        {"protocol": "tcp", "ports": ["22", "8000-8100"]},
                        {"protocol": "ping", "source": "203.0.113.0/24"},
                    ]
                },
            ),
        ),
    ],
)
async def test_the_command_asks_for_what_was_typed(words: tuple[str, ...], asked: Any):
    SEEN.clear()
    async with tenant_service.serving(serve) as service:
        code, printed = await command(service, "inbound", "10000", *words)

    (method, sent) = SEEN[-1]
    without_nulls = sent and {name: value for name, value in sent.items() if value is not None}
    assert code == 0, printed
    assert (method, _short(without_nulls)) == asked
    assert "10 seconds" in printed


@pytest.mark.parametrize(
    "words", [("--allow", "icmp"), ("--allow", "tcp22"), ("--close", "--reset")]
)
async def test_a_wrong_word_is_refused_before_anything_is_asked(words: tuple[str, ...]):
    SEEN.clear()
    async with tenant_service.serving(serve) as service:
        code, _ = await command(service, "inbound", "10000", *words)

    assert (code, SEEN) == (2, [])


def _short(sent: Any) -> Any:
    """A request without what is empty in its rules."""
    if not sent or not sent.get("rules"):
        return sent
    return {"rules": [{k: v for k, v in rule.items() if v} for rule in sent["rules"]]}
