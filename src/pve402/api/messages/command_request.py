"""Translates the body of an exec call into a request to the hub."""

import base64
import binascii
import dataclasses

from pve402 import schemas
from pve402.hub import errors as hub_errors
from pve402.hub import invocation, services
from pve402.hub import request as hub_request


def to_request(body: schemas.ExecRequest, *, streams: bool) -> hub_request.ExecRequest:
    """Translate the body into a hub request. Raises if it cannot be run as written."""
    default = schemas.MAX_OUTPUT_BYTES if streams else hub_request.DEFAULT_OUTPUT_BYTES
    asked = dataclasses.replace(
        _program(body),
        stdin=_stdin(body),
        open_stdin=body.open_stdin,
        timeout_seconds=body.timeout_seconds,
        output_limit_bytes=default if body.max_output_bytes is None else body.max_output_bytes,
        flows=streams and body.max_output_bytes is None,
        detach=body.detach,
    )
    invocation.build(asked)
    if not body.detach and (body.timeout_seconds or 0) > schemas.MAX_ATTACHED_SECONDS:
        raise hub_errors.RequestRefused("timeoutSeconds must be at most 3,600, unless detached")
    return asked


def to_program(body: schemas.StreamSocketRequest) -> hub_request.ExecRequest:
    """Translate a stream's program or service. Raises if it cannot be run as written."""
    if body.service is not None:
        asked = _service(body)
        invocation.build(asked)
        return asked
    asked = _program(body)
    invocation.build(asked)
    return asked


def _program(body: schemas.ExecRequest | schemas.StreamSocketRequest) -> hub_request.ExecRequest:
    return hub_request.ExecRequest(
        command=body.command,
        argv=None if body.argv is None else tuple(body.argv),
        extra_args=tuple(body.extra_args),
        env=body.env,
        cwd=body.cwd,
        user=body.user,
    )


def _service(body: schemas.StreamSocketRequest) -> hub_request.ExecRequest:
    if body.command is not None or (body.argv is not None and body.service != "shell"):
        raise hub_errors.RequestRefused("a service takes no command")
    match body.service:
        case "ssh":
            return services.ssh()
        case "shell":
            return _on_terminal(body)
        case "port" if body.port is not None:
            return services.port(body.port)
        case "ports":
            return services.ports()
    raise hub_errors.RequestRefused("the service needs a port")


def _on_terminal(body: schemas.StreamSocketRequest) -> hub_request.ExecRequest:
    if body.user not in {"", "root"}:
        raise hub_errors.RequestRefused("on a terminal only root starts programs; use su there")
    return services.shell(body.columns, body.rows, body.env, words=body.argv or (), folder=body.cwd)


def _stdin(body: schemas.ExecRequest) -> bytes | None:
    if body.stdin is None or body.encoding == "utf-8":
        return None if body.stdin is None else body.stdin.encode()
    try:
        return base64.b64decode(body.stdin, validate=True)
    except binascii.Error:
        raise hub_errors.RequestRefused("stdin is not base64") from None
