"""The web pages of consoles, and the files they load.

The pages load nothing from other sites and contain no lease data: they read what they need from
the part of their address after the `#`, which browsers do not send. The path of each file contains
a digest over all files, so browsers can cache files for ever and never mix two versions.
"""

import functools
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pve402.api import context
from pve402.api.transport import routing

router = routing.Router("pages")

_SERVED: Final = frozenset({".css", ".js", ".mjs", ".svg"})
_TYPES: Final = {".js": "text/javascript", ".mjs": "text/javascript"}
# xterm.js writes a terminal's colours and cell size into style elements that it creates.
_STYLES: Final = {"terminal": "'self' 'unsafe-inline'"}


@dataclass(frozen=True, kw_only=True)
class Site:
    """All pages and files, in memory; `digest` identifies their version."""

    pages: Mapping[str, bytes]
    files: Mapping[str, bytes]
    digest: str


@functools.cache
def site() -> Site:
    """Read the pages and files from the package, once."""
    root = resources.files("pve402.web")
    files = dict(_walk(root / "static", ""))
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    short = digest.hexdigest()[:16]
    pages = {
        page.name.removesuffix(".html"): page.read_bytes().replace(b"{{static}}", short.encode())
        for page in (root / "pages").iterdir()
        if page.name.endswith(".html")
    }
    return Site(pages=pages, files=files, digest=short)


@router.get("/console/terminal", include_in_schema=False)
async def terminal(request: Request) -> Response:
    """The terminal."""
    return _page(request, "terminal")


@router.get("/console/vnc", include_in_schema=False)
async def vnc(request: Request) -> Response:
    """The picture of the terminal."""
    return _page(request, "vnc")


@router.get("/console/renew", include_in_schema=False)
async def renew(request: Request) -> Response:
    """What a renewal costs, and paying it."""
    return _page(request, "renew")


@router.get("/console/static/{digest}/{name:path}", include_in_schema=False)
async def file(request: Request) -> Response:
    """A file of the pages; that of another version is not here."""
    name: str = request.path_params["name"]
    content = site().files.get(name)
    if content is None or request.path_params["digest"] != site().digest:
        raise HTTPException(404)
    headers = {
        "cache-control": "public, max-age=31536000, immutable",
        "cross-origin-resource-policy": "same-origin",
    }
    return Response(content, media_type=_media_type(name), headers=headers)


def _page(request: Request, name: str) -> Response:
    headers = {
        "cache-control": "no-store",
        "content-security-policy": _policy(name, context.of(request).gate.public_url),
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "clipboard-read=(self), clipboard-write=(self), camera=(), "
        "microphone=(), geolocation=()",
    }
    return Response(site().pages[name], media_type="text/html; charset=utf-8", headers=headers)


def _policy(name: str, public_url: str) -> str:
    """The content security policy: a page may load from and call this service only."""
    parts = urlsplit(public_url)
    websocket = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src {_STYLES.get(name, chr(39) + 'self' + chr(39))}",
            f"connect-src 'self' {websocket}",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _walk(entry, f"{name}/")
        elif _suffix(name) in _SERVED or "LICENSE" in entry.name:
            found.append((name, entry.read_bytes()))
    return found


def _media_type(name: str) -> str:
    guessed = mimetypes.guess_type(name)[0] or "text/plain"
    return f"{_TYPES.get(_suffix(name), guessed)}; charset=utf-8"


def _suffix(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
