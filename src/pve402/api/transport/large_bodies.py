"""Reads the bodies of creations, which may bring a script and variables.

Anybody may send one, and it stays in memory until it is answered. So of those that are larger than
other bodies may be, few are taken at a time, of one address and in all.
"""

import functools

from starlette.requests import Request

from pve402.api.transport import body, guard


async def read(request: Request) -> bytes:
    """Return the body of a creation. Raises as `body.read`, and Overloaded or ShareUsed."""
    at_large = functools.partial(guard.expect_large_body, request)
    return await body.read(request, body.MAX_CREATION_BYTES, at_large=at_large)
