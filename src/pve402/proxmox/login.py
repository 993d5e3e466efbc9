"""Authentication to Proxmox VE: by API token, or by ticket where a token does not work.

A ticket is valid for two hours and can be used to get a new one; calls that write need a CSRF
token as well (PVE/HTTPServer.pm).
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from pve402.proxmox import answers, errors, parameters, shapes, transport

_TICKET_CALL = answers.Call(method="POST", path="/access/ticket")
#: We renew a ticket after 90 of its 120 minutes.
_TICKET_RENEWAL_SECONDS = 90 * 60
_TICKET_LIFE_SECONDS = 2 * 60 * 60
#: Proxmox decodes the cookie; the characters that tickets consist of need no encoding.
_COOKIE_SAFE = ":@/=+!"


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A login: the cookie's value, and the CSRF token that writes also need."""

    username: str
    ticket: str = field(repr=False)
    csrf_token: str = field(repr=False)

    def headers(self, call: answers.Call) -> dict[str, str]:
        """The request headers that carry this login."""
        headers = {"Cookie": self.cookie()}
        if call.is_write:
            headers["CSRFPreventionToken"] = self.csrf_token
        return headers

    def cookie(self) -> str:
        """The Cookie header; a secret."""
        return f"PVEAuthCookie={quote(self.ticket, safe=_COOKIE_SAFE)}"


class Login(Protocol):
    """What a client needs from a login."""

    async def headers(self, call: answers.Call) -> Mapping[str, str]:
        """The headers for `call`; logs in first if needed."""

    def forget(self, headers: Mapping[str, str]) -> bool:
        """Drop the login whose `headers` were refused; True if a new login may help."""

    def secrets(self) -> tuple[str, ...]:
        """Values that must not appear in any text."""


class TokenLogin:
    """An API token, sent with every request."""

    def __init__(self, token_id: str, token_secret: str) -> None:
        self._secret = token_secret
        self._headers = {"Authorization": f"PVEAPIToken={token_id}={token_secret}"}

    async def headers(self, call: answers.Call) -> Mapping[str, str]:
        """The Authorization header; the same for every call."""
        return self._headers

    def forget(self, headers: Mapping[str, str]) -> bool:
        """False: a refused token stays refused."""
        return False

    def secrets(self) -> tuple[str, ...]:
        """The token's secret."""
        return (self._secret,)


class TicketLogin:
    """A user's ticket, fetched on first use and renewed before it expires."""

    def __init__(
        self,
        username: str,
        password: str,
        *,
        wire: transport.Transport,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._username = username
        self._password = password
        self._wire = wire
        self._clock = clock
        self._ticket: Ticket | None = None
        self._fetched_at = 0.0
        self._fetching = asyncio.Lock()

    async def headers(self, call: answers.Call) -> Mapping[str, str]:
        """Cookie and CSRF token of a valid ticket.

        Raises AuthenticationFailed if Proxmox accepts neither the ticket nor the password.
        """
        async with self._fetching:
            if self._ticket is None or self._age_seconds() > _TICKET_RENEWAL_SECONDS:
                self._ticket = await self._fetch()
                self._fetched_at = self._clock()
            return self._ticket.headers(call)

    def forget(self, headers: Mapping[str, str]) -> bool:
        """Drop the ticket, unless another call has already replaced the refused one."""
        if self._ticket is not None and self._ticket.cookie() == headers.get("Cookie"):
            self._ticket = None
        return True

    def secrets(self) -> tuple[str, ...]:
        """Password, ticket and CSRF token."""
        ticket = self._ticket
        return (self._password, *((ticket.ticket, ticket.csrf_token) if ticket else ()))

    def _age_seconds(self) -> float:
        return self._clock() - self._fetched_at

    async def _fetch(self) -> Ticket:
        if self._ticket is not None and self._age_seconds() < _TICKET_LIFE_SECONDS:
            try:
                return await fetch_ticket(self._wire, self._username, self._ticket.ticket)
            except errors.AuthenticationFailed:
                self._ticket = None
        return await fetch_ticket(self._wire, self._username, self._password)


async def fetch_ticket(wire: transport.Transport, username: str, password: str) -> Ticket:
    """Log in; `password` may also be a valid ticket.

    Raises AuthenticationFailed, also if the user has a second factor, which a service cannot
    provide.
    """
    form = parameters.encode({"username": username, "password": password})
    answer = await wire.exchange(_TICKET_CALL, parameters=form, headers={})
    reply = answers.read(answer, _TICKET_CALL, secrets=(password,))
    fields = shapes.as_object(reply.data, _TICKET_CALL)
    if fields.get("NeedTFA"):
        raise errors.AuthenticationFailed(
            "the user has a second factor; use a user without one", call=_TICKET_CALL.name
        )
    return Ticket(
        username=shapes.text(fields, "username", _TICKET_CALL),
        ticket=shapes.text(fields, "ticket", _TICKET_CALL),
        csrf_token=shapes.text(fields, "CSRFPreventionToken", _TICKET_CALL),
    )
