"""Who visits a port under its name: a program with a token, a browser, or anybody."""

import dataclasses
from typing import Final
from urllib.parse import quote

from starlette.types import Scope

from pve402.api.ports import headers
from pve402.domain import published

_NAVIGATES: Final = b"sec-fetch-mode"
_SITE: Final = b"sec-fetch-site"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CookieNames:
    """The names of our cookies. `__Host-` keeps other names, of other tenants, from setting them.

    Browsers refuse that prefix without https.
    """

    login: str
    seen: str

    @classmethod
    def of(cls, domain: published.PortsDomain) -> "CookieNames":
        """The names under a domain."""
        prefix = "__Host-" if domain.scheme == "https" else ""
        return cls(login=f"{prefix}pve402-login", seen=f"{prefix}pve402-seen")

    @property
    def both(self) -> tuple[bytes, bytes]:
        """As they are in headers."""
        return self.login.encode(), self.seen.encode()


def is_navigation(scope: Scope) -> bool:
    """Whether a browser opens a page, in a tab or a frame; older ones only say what they accept."""
    if scope["type"] != "http":
        return False
    mode = headers.value(scope["headers"], _NAVIGATES)
    if mode is not None:
        return mode == "navigate"
    accepted = headers.value(scope["headers"], b"accept") or ""
    return "text/html" in accepted and scope["method"] in {"GET", "HEAD"}


def is_own_page(scope: Scope, origin: str) -> bool:
    """Whether a page under the same name asks, or no page at all.

    The names of other tenants count as the same site to browsers, so SameSite does not keep their
    pages from sending our cookies along. Older browsers, and all without https, leave the reader
    to the page's address, which another page can only hide.
    """
    site = headers.value(scope["headers"], _SITE)
    told = [value for name, value in scope["headers"] if name == b"origin"]
    if scope["type"] == "http" and site is not None:
        return site in {"same-origin", "none"}
    if told or scope["type"] == "websocket":
        return told == [origin.encode()]
    page = headers.value(scope["headers"], b"referer") or ""
    return page.startswith(f"{origin}/")


def tells_site(scope: Scope) -> bool:
    """Whether the browser says whose page asks; older ones do not."""
    return headers.value(scope["headers"], _SITE) is not None


def is_link(scope: Scope) -> bool:
    """Whether a person follows a link in a tab, which any page may have."""
    is_top = headers.value(scope["headers"], b"sec-fetch-dest") == "document"
    return is_top and is_navigation(scope) and scope["method"] in {"GET", "HEAD"}


def target(scope: Scope) -> bytes:
    """Path and query as the visitor sent them."""
    path, query = scope["raw_path"], scope["query_string"]
    return path + b"?" + query if query else bytes(path)


def place(scope: Scope) -> str:
    """The path to come back to, as a parameter."""
    return quote(target(scope).decode("latin-1"), safe="")


def checked_place(text: str) -> str:
    """A path under the same name; the start page for anything that may lead elsewhere."""
    is_path = text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if is_path and text.isascii() and text.isprintable() else "/"
