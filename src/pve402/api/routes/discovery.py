"""What programs that look for services read: `/llms.txt` and `/.well-known/x402`."""

import functools
import json

from starlette.requests import Request
from starlette.responses import Response

from pve402.api import context
from pve402.api.messages import guide
from pve402.api.transport import routing

router = routing.Router("discovery")

_KEPT = {"cache-control": "public, max-age=300"}


@router.get("/llms.txt", include_in_schema=False)
async def show_guide(request: Request) -> Response:
    """What the service is and how a program uses it, for models."""
    app = context.of(request)
    return _guide(app, app.leases.prices.version)


@router.get("/.well-known/x402", include_in_schema=False)
async def list_resources(request: Request) -> Response:
    """Where a payment buys something, for crawlers of x402."""
    document = guide.resources(context.of(request).gate.public_url)
    return Response(json.dumps(document), media_type="application/json", headers=_KEPT)


@functools.lru_cache(maxsize=8)
def _guide(app: context.Context, _version: int) -> Response:
    """Build the answer once for each version of the catalogue."""
    text = guide.guide(app.gate.public_url, app.leases.catalogue)
    return Response(text, media_type="text/plain; charset=utf-8", headers=_KEPT)
