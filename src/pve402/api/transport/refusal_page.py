"""Refusals for people whose browser opens an address meant for programs."""

import html
import http
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE: Final = "text/html; charset=utf-8"
_OF_JSON: Final = frozenset({"content-type", "content-length"})

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
<p>{detail}</p>
{shop}<p>Programs rent containers here, and pay for them with x402.
<a href="/docs">The API's pages</a> describe every address and what it accepts, and
<a href="/openapi.json">openapi.json</a> tells programs the same.</p>
</html>
"""

_SHOP: Final = """\
<p><a href="/">In the shop</a> you rent a container with your browser's wallet, and find those that
you have.</p>
"""


def is_wanted(request: Request) -> bool:
    """Whether the client prefers a page to JSON, as browsers do."""
    accepted = request.headers.get("accept", "").lower()
    page, json = accepted.find("text/html"), accepted.find("application/json")
    return page >= 0 and (json < 0 or page < json)


def answer(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the page that a browser gets in place of a refusal's JSON.

    It keeps the refusal's headers, so that a program that asks for pages can still pay.
    """
    state = request.app.state
    shop = _SHOP if getattr(state, "has_shop", False) else ""
    title = http.HTTPStatus(status).phrase
    page = _PAGE.format(title=html.escape(title), detail=html.escape(detail), shop=shop)
    kept = {name: value for name, value in (headers or {}).items() if name not in _OF_JSON}
    return Response(page.encode(), status, media_type=MEDIA_TYPE, headers=kept)
