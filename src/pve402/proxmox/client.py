"""The Proxmox VE API client that every other module of this package uses.

One client has one identity and one session:

    options = ProxmoxOptions(host="pve.example", token_id=..., token_secret=...)
    async with ProxmoxClient(options) as client:
        await client.call("GET", "/version")
"""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from pve402.proxmox import answers, errors, login, parameters
from pve402.proxmox.options import ProxmoxOptions, TimeLimits
from pve402.proxmox.transport import Transport, WebSocket

__all__ = ["ProxmoxClient", "ProxmoxOptions", "TimeLimits", "WebSocket"]


class ProxmoxClient:
    """Calls the API of one host as one token or user."""

    def __init__(
        self, options: ProxmoxOptions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = Transport(options)
        self._login: login.Login = (
            login.TokenLogin(options.token_id, options.token_secret)
            if options.token_id
            else login.TicketLogin(
                options.username, options.password, wire=self._transport, clock=clock
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def call(
        self,
        method: str,
        path: str,
        params: parameters.Parameters | None = None,
        *,
        limit_seconds: float | None = None,
    ) -> Any:
        """Make one call and return its `data`.

        `path` starts after `/api2/json` and is percent-encoded (`parameters.api_path`).
        `limit_seconds` replaces the default limit for reads or writes. We repeat a read once
        if its connection breaks, and never repeat a write.

        Raises a class of `pve402.proxmox.errors`.
        """
        reply = await self.request(method, path, params, limit_seconds=limit_seconds)
        return reply.data

    async def request(
        self,
        method: str,
        path: str,
        params: parameters.Parameters | None = None,
        *,
        limit_seconds: float | None = None,
    ) -> answers.Reply:
        """As `call`, but returns the `total` of a paged list too."""
        call = answers.Call(method=method, path=path)
        headers = await self._login.headers(call)
        try:
            return await self._request_as(headers, call, params or {}, limit_seconds)
        except errors.AuthenticationFailed:
            # Proxmox sends 401 before it executes anything, so even a write may be repeated.
            if not self._login.forget(headers):
                raise
        headers = await self._login.headers(call)
        return await self._request_as(headers, call, params or {}, limit_seconds)

    async def open_websocket(self, node: str, vmid: int, port: int, ticket: str) -> WebSocket:
        """Open the console that `termproxy` or `vncproxy` prepared, within its 10 s.

        The socket carries binary frames, unbuffered; the caller closes it.

        Raises Unreachable if no socket opened, AuthenticationFailed for a ticket of another
        user, guest or port, PermissionDenied without VM.Console.
        """
        path = parameters.api_path("nodes", node, "lxc", vmid, "vncwebsocket")
        call = answers.Call(method="GET", path=path)
        headers = await self._login.headers(call)
        form = parameters.encode({"port": port, "vncticket": ticket})
        return await self._transport.open_websocket(call, parameters=form, headers=headers)

    async def fetch_ticket(self, username: str, password: str) -> login.Ticket:
        """Log another user in, over the same session.

        Raises AuthenticationFailed.
        """
        return await login.fetch_ticket(self._transport, username, password)

    async def _request_as(
        self,
        headers: Mapping[str, str],
        call: answers.Call,
        params: parameters.Parameters,
        limit_seconds: float | None,
    ) -> answers.Reply:
        answer = await self._transport.exchange(
            call,
            parameters=parameters.encode(params),
            headers=headers,
            limit_seconds=limit_seconds,
        )
        secrets = (*self._login.secrets(), *parameters.secret_values(params))
        return answers.read(answer, call, secrets=secrets)
