"""Which headers pass between visitors and servers in guests. Sans-I/O.

What is between us and one side only stays there (RFC 9110, 7.6.1), as do our own credentials. What
would reach beyond the one name, such as cookies for the whole domain, is cut out of answers.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

Header = tuple[bytes, bytes]

TOKEN: Final = b"pve402-token"
_OURS: Final = b"pve402-"
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"}
    | {b"upgrade", b"proxy-authenticate", b"proxy-authorization"}
)
_FORWARDED: Final = frozenset({b"forwarded", b"x-real-ip", b"via", b"client-ip", b"true-client-ip"})
_REQUEST_ONLY: Final = frozenset({b"host", b"content-length", b"expect"})
#: They would clear or redirect more than the one name, or speak to caches and proxies before us.
_FAR_REACHING: Final = frozenset(
    {b"clear-site-data", b"alt-svc", b"public-key-pins", b"surrogate-control"}
    | {b"cdn-cache-control", b"x-accel-redirect", b"x-sendfile", b"x-accel-buffering"}
)
#: On the main origin, where pages of guests must do nothing.
_OF_SITES: Final = frozenset(
    {b"set-cookie", b"service-worker-allowed", b"content-security-policy", b"refresh"}
    | {b"content-security-policy-report-only", b"strict-transport-security", b"link"}
    | {b"report-to", b"reporting-endpoints", b"nel", b"www-authenticate", b"sourcemap"}
)
#: Sent by habit, in `Authorization`; no server in a guest has any use for it.
_OUR_TOKEN: Final = re.compile(rb"\A\s*(bearer\s+)?pve402_[0-9a-f]{64}\s*\Z", re.IGNORECASE)
_WEBSOCKET: Final = b"sec-websocket-"
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
#: Clients drop tabs, take `\` for `/`, and follow dots out of the path of one server.
_LEADS_AWAY: Final = re.compile(r"[\t\\]|/(\.|%2e){1,2}(/|#|\Z)", re.IGNORECASE)
_DOMAIN: Final = re.compile(rb"\A\s*domain\s*(=|\Z)", re.IGNORECASE)
_SHARED: Final = frozenset({b"public", b"s-maxage"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Visitor:
    """Who asks, under which name, and how it reached us."""

    host: str
    scheme: str
    address: str | None
    prefix: str = ""  # of the path that the server does not see

    @property
    def origin(self) -> str:
        """The web origin of the name."""
        return f"{self.scheme}://{self.host}"


def for_guest(
    received: Sequence[Header], visitor: Visitor, cookies: Iterable[bytes] | None
) -> list[Header]:
    """The headers of a request, as the server in the guest gets them, without the framing.

    `cookies` are the names of our own cookies, or None if it gets none at all.
    """
    dropped = _HOP_BY_HOP | _FORWARDED | _REQUEST_ONLY | _named_by_connection(received)
    passed = [(b"host", visitor.host.encode())]
    for name, value in received:
        alike = name.replace(b"_", b"-")  # CGI and WSGI do not tell them apart
        is_ours = alike.startswith((_OURS, b"x-forwarded-", _WEBSOCKET)) or _OUR_TOKEN.match(value)
        if alike in dropped or is_ours:
            continue
        kept = _without_cookies(value, cookies) if name == b"cookie" else value
        if kept:
            passed.append((name, kept))
    passed.append((b"x-forwarded-proto", visitor.scheme.encode()))
    passed.append((b"x-forwarded-host", visitor.host.encode()))
    if visitor.address is not None:
        passed.append((b"x-forwarded-for", visitor.address.encode()))
    if visitor.prefix:
        passed.append((b"x-forwarded-prefix", visitor.prefix.encode()))
    return passed


def body_framing(received: Sequence[Header]) -> list[Header]:
    """How the body of a request is framed towards the guest; our server has checked the head."""
    lengths = {value for name, value in received if name == b"content-length"}
    if any(name == b"transfer-encoding" for name, _value in received):
        return [(b"transfer-encoding", b"chunked")]
    return [(b"content-length", lengths.pop())] if len(lengths) == 1 else []


def for_visitor(
    received: Sequence[Header], cookies: Iterable[bytes], *, is_private: bool
) -> list[Header]:
    """The headers of an answer, as the visitor of a name gets them."""
    passed = [*_safe(received, cookies)]
    return [*_not_shared(passed)] if is_private else passed


def for_main_origin(received: Sequence[Header]) -> list[Header]:
    """The headers of an answer on our own origin, where a page of a guest may do nothing."""
    kept = [
        (name, value)
        for name, value in _safe(received, ())
        if name not in _OF_SITES and not name.startswith((b"access-control-", b"cross-origin-"))
    ]
    kept = [pair for pair in kept if pair[0] not in {b"cache-control", b"x-content-type-options"}]
    return [
        *kept,
        (b"content-security-policy", b"sandbox"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]


def with_location(
    received: Sequence[Header], visitor: Visitor, port: int, *, has_token: bool
) -> list[Header]:
    """Answers whose Location leads somewhere a program's token must not follow lose it.

    Many clients send their headers along with a redirect, to whatever host. Ours stays readable
    as Pve402-Location. With a prefix, a path on the same server gets it.
    """
    own = (visitor.origin, *(f"http://{host}:{port}" for host in ("localhost", "127.0.0.1")))
    found = []
    for name, value in received:
        if name == b"location":
            path = _own_path(value.decode("latin-1"), own)
            if path is not None and visitor.prefix:
                value = f"{visitor.prefix}{path}".encode("latin-1")  # noqa: PLW2901
            elif path is None and has_token:
                name = b"pve402-location"  # noqa: PLW2901
        found.append((name, value))
    return found


def _own_path(location: str, own: Sequence[str]) -> str | None:
    """The path of an address on the same server; None if it may be on another one."""
    for origin in own:
        if location == origin or location.startswith((f"{origin}/", f"{origin}?")):
            location = location[len(origin) :] or "/"
            break
    is_path = location.startswith("/") and not location.startswith("//")
    return location if is_path and not _LEADS_AWAY.search(location.partition("?")[0]) else None


def cookie(received: Sequence[Header], wanted: str) -> str | None:
    """The value of one cookie, if there is exactly one of this name."""
    pieces = [piece for name, value in received if name == b"cookie" for piece in value.split(b";")]
    pairs = [piece.strip().partition(b"=") for piece in pieces]
    found = [value for name, _, value in pairs if name == wanted.encode()]
    return found[0].decode("latin-1") if len(found) == 1 else None


def value(received: Sequence[Header], wanted: bytes) -> str | None:
    """The value of a header that may come once; None if it does not."""
    found = [value for name, value in received if name == wanted]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _named_by_connection(received: Sequence[Header]) -> frozenset[bytes]:
    words = b",".join(value for name, value in received if name == b"connection")
    return frozenset(word.strip().lower() for word in words.split(b","))


def _without_cookies(value: bytes, cookies: Iterable[bytes] | None) -> bytes:
    if cookies is None:
        return b""
    ours = frozenset(cookies)
    pieces = [piece.strip() for piece in value.split(b";")]
    kept = [piece for piece in pieces if piece.partition(b"=")[0].strip() not in ours]
    return b"; ".join(filter(None, kept))  # h11 takes no value that ends with a space


def _safe(received: Sequence[Header], cookies: Iterable[bytes]) -> Iterator[Header]:
    """Leave out what is between us and the guest, and what reaches beyond the one name.

    Raises ValueError for a value with control characters, which nobody can pass on.
    """
    dropped = _HOP_BY_HOP | _FAR_REACHING | _named_by_connection(received)
    if any(name == b"transfer-encoding" for name, _content in received):
        dropped |= {b"content-length"}  # it says nothing then (RFC 9112, 6.3)
    ours = tuple(name.lower() for name in cookies)
    for name, content in received:
        if _CONTROL.search(content):
            raise ValueError("an answer's header contains control characters")
        if name in dropped or name.startswith((_OURS, _WEBSOCKET)):
            continue
        if name != b"set-cookie":
            yield name, content
        elif content.partition(b"=")[0].strip().lower() not in ours:
            yield name, _for_one_name(content)


def _for_one_name(content: bytes) -> bytes:
    """A cookie without its Domain: other names belong to other tenants."""
    first, *rest = content.split(b";")
    return b";".join((first, *(piece for piece in rest if not _DOMAIN.match(piece))))


def _not_shared(received: Iterable[Header]) -> Iterator[Header]:
    """Let no cache between us and the visitor show a private answer to others."""
    words = []
    for name, content in received:
        if name == b"cache-control":
            words += [word.strip() for word in content.split(b",")]
        else:
            yield name, content
    kept = [word for word in words if word.partition(b"=")[0].strip().lower() not in _SHARED]
    if not any(word.lower() in {b"private", b"no-store"} for word in kept):
        kept.append(b"private")
    yield b"cache-control", b", ".join(kept)
