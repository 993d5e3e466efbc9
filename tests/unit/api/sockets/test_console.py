"""The websocket of a console that finds no place."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocket

from pve402.api import gate
from pve402.api.sockets import console
from pve402.api.transport import address, guard, lanes
from pve402.domain import errors
from pve402.guests.consoles import Kind

TICKET = "t" * 43


class Consoles:
    """Tickets that open once; a new one is handed out for each."""

    async def redeem(self, _ticket: str, _kind: Kind) -> Any:
        """Take the ticket."""
        return SimpleNamespace(lease=SimpleNamespace(lease_id="lease", owner="wallet"))

    async def issue_again(self, _grant: Any) -> Any:
        """Make another."""
        return SimpleNamespace(ticket="another")


@pytest.mark.parametrize("refusal", [errors.Overloaded, lanes.ShareUsed])
async def test_a_console_without_a_place_gets_its_ticket_replaced(
    monkeypatch: pytest.MonkeyPatch, refusal: type[errors.Pve402Error]
):
    def hold(*_: Any) -> None:
        raise refusal

    monkeypatch.setattr(guard, "hold", hold)
    incoming = iter(
        [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": json.dumps({"ticket": TICKET})},
        ]
    )
    sent: list[Any] = []

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    app = SimpleNamespace(work=SimpleNamespace(consoles=Consoles()))
    state = SimpleNamespace(context=app)
    scope = {"type": "websocket", "app": SimpleNamespace(state=state), "headers": []}
    await console._serve(WebSocket(scope, receive, send), Kind.TERMINAL)

    assert json.loads(sent[1]["text"]) == {"exit": refusal.code, "resume": "another"}
    assert (sent[2]["code"], sent[2]["reason"]) == (1013, refusal.code)


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://rent.example.com", "https://rent.example.com"),
        ("https://rent.example.com:443/", "https://rent.example.com"),
        ("http://rent.example.com:80", "http://rent.example.com"),
        ("https://rent.example.com:8443/path", "https://rent.example.com:8443"),
        ("http://[::1]:4021", "http://[::1]:4021"),
    ],
)
def test_only_pages_of_our_own_open_a_console(public_url: str, origin: str):
    options: Any = SimpleNamespace(public_url=public_url, min_remaining_seconds=30)

    assert gate.Gate(options, address.ClientAddresses(())).origin == origin
