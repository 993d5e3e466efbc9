"""What a request would like, in its header Prefer (RFC 7240)."""

import re
from typing import Final

from starlette.requests import Request

_WAIT: Final = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?([0-9]{1,6})"?\s*(?=$|[,;])', re.IGNORECASE)


def responds_async(request: Request) -> bool:
    """Return whether the client wants an answer at once, before the work is done."""
    return "respond-async" in _text(request).lower()


def wait_seconds(request: Request, *, most: int) -> int:
    """Return how many seconds the client is ready to wait, at most `most`; 0 by default."""
    found = _WAIT.search(_text(request))
    return min(int(found[1]), most) if found else 0


def _text(request: Request) -> str:
    return ", ".join(request.headers.getlist("prefer"))
