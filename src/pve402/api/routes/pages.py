"""The web pages, of the shop, of consoles and of the API, and the files they load.

The pages load nothing from other sites and contain no lease data: they read what they need from
the part of their address after the `#`, which browsers do not send. The path of each file contains
a digest over all files, so browsers can cache files for ever and never mix two versions.
"""

import asyncio
import functools
import gzip
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
from pve402.api.transport import refusal_page, routing

router = routing.Router("pages")

_SERVED: Final = frozenset({".css", ".js", ".mjs", ".svg"})
_TYPES: Final = {".js": "text/javascript", ".mjs": "text/javascript"}
# xterm.js writes a terminal's colours and cell size into style elements that it creates, and
# RapiDoc writes styles into its templates.
_STYLED: Final = frozenset({"terminal", "docs"})
# The pages that pay write nothing into the document but text; RapiDoc writes what lit makes.
_TYPED: Final = frozenset({"shop", "renew", "docs"})


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


@router.get("/", include_in_schema=False)
async def shop(request: Request) -> Response:
    """The shop, for browsers; there is nothing here for programs."""
    if not (context.of(request).has_shop and refusal_page.is_wanted(request)):
        raise HTTPException(404)
    return _page(request, "shop")


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


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The OpenAPI document, for people."""
    return _page(request, "docs")


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
        "vary": "accept-encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = await asyncio.to_thread(_compressed, name)
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=_media_type(name), headers=headers)


@functools.cache
def _compressed(name: str) -> bytes:
    return gzip.compress(site().files[name], mtime=0)


def _page(request: Request, name: str) -> Response:
    app = context.of(request)
    content = site().pages[name].replace(b"{{shop}}", b"yes" if app.has_shop else b"no")
    headers = {
        "cache-control": "no-store",
        "content-security-policy": _policy(name, app.gate.public_url),
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "clipboard-read=(self), clipboard-write=(self), camera=(), "
        "microphone=(), geolocation=()",
    }
    return Response(content, media_type="text/html; charset=utf-8", headers=headers)


def _policy(name: str, public_url: str) -> str:
    """The content security policy: a page may load from and call this service only."""
    parts = urlsplit(public_url)
    websocket = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'" if name in _STYLED else "style-src 'self'",
            f"connect-src 'self' {websocket}",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            *(("require-trusted-types-for 'script'",) if name in _TYPED else ()),
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
