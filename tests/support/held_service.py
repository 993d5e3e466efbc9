"""A service behind the guard whose answers wait until a test lets them go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from pve402.api.transport import body, errors, guard
from pve402.domain import errors as refusals


class HeldService:
    """Reads the body, knows the caller if told to, and then waits for `go`, as a handler would."""

    def __init__(
        self,
        *,
        party: str = "",
        holds: bool = False,
        wallet: str = "",
        read: Callable[[Request], Awaitable[bytes]] = body.read,
    ) -> None:
        self.go = asyncio.Event()
        self.wallet = wallet
        self.party = party
        self.holds = holds
        self._read = read

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            request = Request(scope, receive)
            await self._read(request)
            if self.party:
                guard.know(request, self.party)
            if self.holds:
                guard.hold(request, 60, self.party, *filter(None, [self.wallet]))
            if scope["path"] != "/quick":
                await self.go.wait()
        except refusals.Pve402Error as refusal:
            await errors.answer(refusal)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
