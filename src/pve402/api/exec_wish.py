"""From the body of an exec call to what the hub runs."""

import base64
import binascii

from pve402 import schemas
from pve402.hub import errors as hub_errors
from pve402.hub import request as hub_request
from pve402.hub import script


def to_request(wish: schemas.ExecRequest, *, streams: bool) -> hub_request.ExecRequest:
    """Turn the body into the hub's words. Raises what cannot be run as written."""
    default = schemas.MAX_OUTPUT_BYTES if streams else hub_request.DEFAULT_OUTPUT_BYTES
    asked = hub_request.ExecRequest(
        command=wish.command,
        argv=None if wish.argv is None else tuple(wish.argv),
        extra_args=tuple(wish.extra_args),
        env=wish.env,
        cwd=wish.cwd,
        user=wish.user,
        stdin=_stdin(wish),
        open_stdin=wish.open_stdin,
        timeout_seconds=wish.timeout_seconds,
        output_limit_bytes=default if wish.max_output_bytes is None else wish.max_output_bytes,
        detach=wish.detach,
    )
    script.build(asked)
    if not wish.detach and (wish.timeout_seconds or 0) > schemas.MAX_ATTACHED_SECONDS:
        raise hub_errors.RequestRefused("timeoutSeconds is 3,600 at most, unless detached")
    return asked


def _stdin(wish: schemas.ExecRequest) -> bytes | None:
    if wish.stdin is None or wish.encoding == "utf-8":
        return None if wish.stdin is None else wish.stdin.encode()
    try:
        return base64.b64decode(wish.stdin, validate=True)
    except binascii.Error:
        raise hub_errors.RequestRefused("stdin is not base64") from None
