"""Requests for the names of published ports, told by their Host header, apart from all others.

This is the one use of Host: under the ports domain it names a lease and a port, or the request is
misdirected. A page of a guest so never has the origin of the API, and the API never that of a page.
"""

import dataclasses
import http
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pve402.api import context
from pve402.api.ports import exchange, headers, pages, visitors, visits
from pve402.api.transport import address, body, refusal_page
from pve402.api.transport import errors as error_table
from pve402.domain import errors, power, published
from pve402.guests import open_calls
from pve402.leases import ports
from pve402.proxmox import errors as proxmox_errors

_NAME: Final = "pve402.port_name"
_OURS: Final = b"/.pve402/"
_SEEN_SECONDS: Final = 30 * 24 * 3600
_LARGEST_SECRET_BYTES: Final = 256
_LARGEST_TOKEN_CHARACTERS: Final = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class NameOptions:
    """What the operator chose for published ports."""

    domain: published.PortsDomain
    warns: bool
    contact: str | None
    trusted_proxies: tuple[str, ...] = ()


class Fork:
    """ASGI application: names of ports to one application, everything else to another."""

    def __init__(self, main: ASGIApp, names: ASGIApp, domain: published.PortsDomain) -> None:
        self._main = main
        self._names = names
        self._domain = domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a websocket."""
        try:
            name = self._named(scope)
        except published.Misdirected as refusal:
            await _answer(error_table.answer(refusal), scope, receive, send)
            return
        if name is None:
            await self._main(scope, receive, send)
            return
        # The path is the tenant's affair: no limit of ours depends on it, and no log has it.
        route = SimpleNamespace(path="published port")
        visited = {**scope, _NAME: name, "path": route.path, "route": route}
        await self._names(visited, receive, send)

    def _named(self, scope: Scope) -> published.PortName | None:
        """What the request's only Host header names. Raises Misdirected."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        found = [self._domain.named(host.decode("latin-1")) for host in hosts]
        if len(hosts) > 1 and any(found):
            raise published.Misdirected
        return found[0] if found else None


class Inner:
    """The same fork behind the guard, which both have in common."""

    def __init__(self, main: ASGIApp, names: ASGIApp) -> None:
        self._main = main
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a websocket."""
        await (self._names if _NAME in scope else self._main)(scope, receive, send)


class Names:
    """ASGI application that serves the names of ports."""

    def __init__(self, options: NameOptions) -> None:
        self._options = options
        self._clients = address.ClientAddresses(options.trusted_proxies)
        self._cookies = visitors.CookieNames.of(options.domain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a websocket, and answer refusals."""
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._serve(scope, receive, note)
        except _REFUSALS as error:
            if has_begun and scope["type"] == "http":
                raise
            await self._refuse(_as_ours(error), scope, receive, send, has_begun=has_begun)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        name: published.PortName = scope[_NAME]
        if scope["type"] == "http" and scope["raw_path"].startswith(_OURS):
            answer = await self._own(Request(scope, receive), name)
            await answer(scope, receive, send)
            return
        visit = await self._admitted(scope, name)
        if visit is None:
            raise errors.Unauthenticated("This port is private.")
        if self._needs_warning(scope, visit):
            page = pages.warning(name.host, visitors.place(scope), self._options.contact)
            await page(scope, receive, send)
            return
        leases = context.of(HTTPConnection(scope)).leases
        if visit.port.access is published.Access.PRIVATE:
            used = await leases.wake_for(visit.lease, power.Use.PORT)
        else:
            used = await leases.note_use(visit.lease)
        visit = dataclasses.replace(visit, lease=used)
        call = open_calls.OpenCall(visit.lease, visit.token_hash, visit.port)
        goal = self._goal(scope, name, visit)
        connection = HTTPConnection(scope)
        await visits.carry(connection, goal, call, receive, send, ends_at=visit.ends_at)

    async def _admitted(self, scope: Scope, name: published.PortName) -> ports.Visit | None:
        token = headers.value(scope["headers"], headers.TOKEN)
        login = None
        origin = self._options.domain.origin(name.port, name.lease_id)
        if visitors.is_own_page(scope, origin) or visitors.is_link(scope):
            login = headers.cookie(scope["headers"], self._cookies.login)
        if token is not None and len(token) > _LARGEST_TOKEN_CHARACTERS:
            raise errors.Unauthenticated
        found = context.of(HTTPConnection(scope)).ports
        return await found.admit(name, token=token, login=login)

    def _needs_warning(self, scope: Scope, visit: ports.Visit) -> bool:
        is_strangers = visit.port.access is published.Access.PUBLIC and visit.token_hash is None
        if not self._options.warns or not is_strangers or not visitors.is_navigation(scope):
            return False
        return headers.cookie(scope["headers"], self._cookies.seen) != "1"

    def _goal(self, scope: Scope, name: published.PortName, visit: ports.Visit) -> exchange.Goal:
        visitor = headers.Visitor(
            host=name.host,
            scheme=self._options.domain.scheme,
            address=self._clients.of(scope),
        )
        cookies, received = self._cookies.both, scope["headers"]
        is_private = visit.port.access is published.Access.PRIVATE
        has_token = headers.value(received, headers.TOKEN) is not None

        def rewrite(answered: Sequence[headers.Header]) -> list[headers.Header]:
            passed = headers.for_visitor(answered, cookies, is_private=is_private)
            return headers.with_location(passed, visitor, name.port, has_token=has_token)

        return exchange.Goal(
            lease=visit.lease,
            port=name.port,
            target=visitors.target(scope),
            request_headers=[
                *headers.for_guest(received, visitor, cookies),
                *(headers.body_framing(received) if scope["type"] == "http" else ()),
            ],
            rewrite=rewrite,
        )

    # our own addresses under a name

    async def _own(self, request: Request, name: published.PortName) -> Response:
        path, method = request.scope["raw_path"], request.method
        if path == b"/.pve402/login" and method == "GET":
            return pages.login()
        if path == b"/.pve402/login" and method == "POST":
            return await self._log_in(request, name)
        if path == b"/.pve402/continue" and method == "POST":
            origin = self._options.domain.origin(name.port, name.lease_id)
            if not visitors.is_own_page(request.scope, origin):
                raise errors.NotAllowed("Another site's page must not do this.")
            return self._go_on(request)
        return error_table.problem(404, "not_found", "There is no such page.")

    async def _log_in(self, request: Request, name: published.PortName) -> Response:
        secret = (await body.read(request, _LARGEST_SECRET_BYTES)).decode("latin-1")
        login = await context.of(request).ports.log_in(name, secret)
        answer = Response(status_code=204, headers={"cache-control": "no-store"})
        self._set_cookie(answer, self._cookies.login, login.text, int(ports.LOGIN_SECONDS))
        return answer

    def _go_on(self, request: Request) -> Response:
        query = parse_qs(request.scope["query_string"].decode("latin-1"))
        place = visitors.checked_place(query.get("to", ["/"])[0])
        answer = Response(status_code=303, headers={"location": place, "cache-control": "no-store"})
        self._set_cookie(answer, self._cookies.seen, "1", _SEEN_SECONDS)
        return answer

    def _set_cookie(self, answer: Response, name: str, value: str, seconds: int) -> None:
        is_https = self._options.domain.scheme == "https"
        answer.set_cookie(
            name, value, max_age=seconds, path="/", secure=is_https, httponly=True, samesite="lax"
        )

    async def _refuse(
        self,
        error: errors.Pve402Error,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        has_begun: bool,
    ) -> None:
        """Answer a refusal: a page for people, JSON for programs, a code for websockets."""
        status = error_table.status_of(type(error))
        if scope["type"] == "websocket" and has_begun:
            await send({"type": "websocket.close", "code": 4000 + status, "reason": error.code})
            return
        answer = error_table.answer(error)
        if scope["type"] == "http" and refusal_page.is_wanted(Request(scope)):
            answer = pages.refusal(status, http.HTTPStatus(status).phrase, error.detail)
            if isinstance(error, errors.Unauthenticated):
                answer = pages.private(is_old=not visitors.tells_site(scope))
        await _answer(answer, scope, receive, send)


_REFUSALS: Final = (errors.Pve402Error, proxmox_errors.ProxmoxError)


def _as_ours(error: Exception) -> errors.Pve402Error:
    return error if isinstance(error, errors.Pve402Error) else errors.ProxmoxUnavailable()


async def _answer(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a websocket before its handshake."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
        return
    start: dict[str, Any] = {"type": "websocket.http.response.start"}
    await send({**start, "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})
