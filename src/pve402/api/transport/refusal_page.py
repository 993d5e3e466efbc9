"""Refusals for people whose browser opens an address meant for programs."""

import html
from typing import Final

from starlette.requests import Request

MEDIA_TYPE: Final = "text/html; charset=utf-8"

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
<p>{detail}</p>
<p>Programs rent containers here, and pay for them with x402.
<a href="/openapi.json">The API description</a> lists every address and what it accepts.</p>
</html>
"""


def is_wanted(request: Request) -> bool:
    """Whether the client prefers a page to JSON, as browsers do."""
    accepted = request.headers.get("accept", "").lower()
    page, json = accepted.find("text/html"), accepted.find("application/json")
    return page >= 0 and (json < 0 or page < json)


def written(title: str, detail: str) -> bytes:
    """Return the page."""
    return _PAGE.format(title=html.escape(title), detail=html.escape(detail)).encode()
