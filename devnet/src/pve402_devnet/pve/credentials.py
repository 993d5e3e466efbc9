"""Who sends a request: API token or login ticket, and the texts for neither (PVE::HTTPServer)."""

import hmac
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from pve402_devnet.pve import access, clock, errors, tickets

COOKIE = "PVEAuthCookie"
TOKEN_SCHEME = "PVEAPIToken"  # noqa: S105 - a header's word, no secret

_OPEN_CALLS = {
    ("GET", "/access/domains"),
    ("GET", "/access/ticket"),
    ("POST", "/access/ticket"),
    ("POST", "/access/vncticket"),
}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The sender of a request. `user` is empty on the few calls that ask for nobody."""

    user: str
    by_token: bool


class Doorkeeper:
    """Finds the caller of a request or raises `errors.Unauthenticated`."""

    def __init__(
        self, known: access.Access, office: tickets.TicketOffice, time: clock.Clock
    ) -> None:
        self._access = known
        self._tickets = office
        self._clock = time

    def identify(self, method: str, path: str, headers: Mapping[str, str]) -> Caller:
        """Read the credentials of a request; a cookie that writes needs its CSRF token too."""
        authorization = headers.get("Authorization")
        ticket = _value(headers.get("Cookie"), COOKIE) or _value(authorization, COOKIE)
        token = None if ticket else _value(authorization, TOKEN_SCHEME)
        if (method, path) in _OPEN_CALLS:
            return Caller(user="", by_token=bool(token))
        if token:
            return Caller(user=self._user_of_token(token), by_token=True)
        if not ticket:
            raise errors.Unauthenticated("No ticket")
        user = self._user_of_ticket(ticket)
        csrf = headers.get("CSRFPreventionToken", "")
        if method != "GET" and not self._tickets.is_csrf_token(csrf, user):
            raise errors.Unauthenticated("Permission denied - invalid csrf token")
        return Caller(user=user, by_token=False)

    def is_usable(self, user: str) -> bool:
        """Tell whether an account exists, is enabled and has not expired."""
        known = self._access.users.get(user)
        if known is None or not known.enabled:
            return False
        return not known.expire or known.expire > self._clock.now()

    def _user_of_token(self, shown: str) -> str:
        full_id, _, secret = shown.rpartition("=")
        token = self._access.token(full_id)
        usable = token is not None and self.is_usable(full_id.partition("!")[0])
        if token is None or not usable or not _same(token.secret, secret):
            raise errors.Unauthenticated("Authentication failed!")
        if token.expire and token.expire < self._clock.now():
            raise errors.Unauthenticated("Authentication failed!")
        return full_id

    def _user_of_ticket(self, ticket: str) -> str:
        user = self._tickets.login_user(ticket)
        if user is None or not self.is_usable(user):
            raise errors.Unauthenticated("Authentication failed!")
        return user


def _same(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode(), second.encode())


def _value(header: str | None, key: str) -> str | None:
    """Take `key=value` or `key value` out of a header, as the formatter of Proxmox does."""
    match = re.search(rf"(?:^|\s){re.escape(key)}[= ]([^;]*)", header or "")
    return urllib.parse.unquote(match[1]) if match else None
