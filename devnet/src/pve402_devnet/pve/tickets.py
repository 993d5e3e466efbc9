"""Signed tickets: of logins, of consoles, and the tokens against forged requests.

A console ticket is bound to its user, path and port and lives 40 seconds; a login lives two hours.
The signature is an HMAC instead of Proxmox's RSA: only the form and the rules are the same.
"""

import base64
import hashlib
import hmac
import re
import secrets
import string

from pve402_devnet.pve import clock, errors

LOGIN_SECONDS = 7200
CONSOLE_SECONDS = 40
_AHEAD_SECONDS = 20
_CSRF_AHEAD_SECONDS = 300
_PASSWORD_ALPHABET = string.ascii_letters + string.digits
_TICKET = re.compile(
    r"(?P<prefix>PVE|PVEVNC):(?:(?P<user>[^:\s]+):)?(?P<time>[0-9A-F]{8})::(?P<sum>\S+)"
)
_VNC_PASSWORD = re.compile(r".{8}:(?=PVEVNC:)")


class TicketOffice:
    """Issues and checks every ticket of one cluster."""

    def __init__(self, time: clock.Clock) -> None:
        self._clock = time
        self._key = secrets.token_bytes(32)

    def issue_login(self, user: str) -> str:
        """Make the value of the cookie `PVEAuthCookie`."""
        head = f"PVE:{user}:{self._stamp()}"
        return f"{head}::{self._sign(head)}"

    def login_user(self, ticket: str) -> str | None:
        """Return the user of a login ticket that is genuine and has not expired."""
        match = _TICKET.fullmatch(ticket)
        if match is None or match["prefix"] != "PVE" or not match["user"]:
            return None
        head = f"PVE:{match['user']}:{match['time']}"
        genuine = hmac.compare_digest(self._sign(head), match["sum"])
        young = self._is_young(match["time"], _CSRF_AHEAD_SECONDS, LOGIN_SECONDS)
        return match["user"] if genuine and young else None

    def issue_csrf_token(self, user: str) -> str:
        """Make the token that writes with a cookie must carry."""
        stamp = self._stamp()
        return f"{stamp}:{self._sign(f'csrf:{stamp}:{user}')}"

    def is_csrf_token(self, token: str, user: str) -> bool:
        """Check a token of the header `CSRFPreventionToken`."""
        stamp, _, signature = token.partition(":")
        if re.fullmatch("[0-9A-F]{8}", stamp) is None:
            return False
        genuine = hmac.compare_digest(self._sign(f"csrf:{stamp}:{user}"), signature)
        return genuine and self._is_young(stamp, _CSRF_AHEAD_SECONDS, LOGIN_SECONDS)

    def issue_console(self, user: str, path: str, port: int) -> str:
        """Make the ticket of a console that was opened on a port."""
        head = f"PVEVNC:{self._stamp()}"
        return f"{head}::{self._sign(f'{head}:{user}:{path}:{port}')}"

    def is_console(self, ticket: str, user: str, path: str, port: int) -> bool:
        """Check a console ticket against its user, guest and port."""
        bare = _VNC_PASSWORD.sub("", ticket, count=1)
        match = _TICKET.fullmatch(bare)
        if match is None or match["prefix"] != "PVEVNC":
            return False
        signed = f"PVEVNC:{match['time']}:{user}:{path}:{port}"
        genuine = hmac.compare_digest(self._sign(signed), match["sum"])
        return genuine and self._is_young(match["time"], _AHEAD_SECONDS, CONSOLE_SECONDS)

    def require_console(self, ticket: str, user: str, path: str, port: int) -> None:
        """Raise `errors.LoginRefused` for an invalid console ticket."""
        if not self.is_console(ticket, user, path, port):
            raise errors.LoginRefused("permission denied - invalid PVEVNC ticket")

    def _stamp(self) -> str:
        return f"{int(self._clock.now()):08X}"

    def _is_young(self, stamp: str, ahead_seconds: float, old_seconds: float) -> bool:
        age = self._clock.now() - int(stamp, 16)
        return -ahead_seconds < age < old_seconds

    def _sign(self, text: str) -> str:
        digest = hmac.new(self._key, text.encode(), hashlib.sha512).digest()
        return base64.b64encode(digest).decode()


def draw_vnc_password() -> str:
    """Generate a password of eight characters, the most that VNC authentication uses."""
    return "".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(8))
