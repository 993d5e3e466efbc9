"""Turns refusals into answers: one table of statuses, one body format.

Every refusal is `{"detail": ..., "code": ...}`. The gate answers invalid payments with the terms
again. An exception that is not in the table is a bug and gives a 500 without details.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from pve402.api.transport import body, conditions, ranges, refusal_page
from pve402.domain import errors, published, reinstalls, size_changes, snapshots
from pve402.guests import connections, pulls, ssh_keys
from pve402.hub import errors as hub_errors
from pve402.payments import errors as payment_errors
from pve402.proxmox import errors as proxmox_errors

STATUSES: Final[dict[type[Exception], int]] = {
    errors.InvalidRequest: 422,
    errors.Unauthenticated: 401,
    errors.NotAllowed: 403,
    errors.Blocked: 403,
    errors.LeaseNotFound: 404,
    errors.OwedNotFound: 404,
    errors.UserDataMissing: 404,
    errors.LeaseEnded: 410,
    errors.Conflict: 409,
    errors.PaymentRefused: 402,
    errors.TooMany: 429,
    errors.ProvisioningFailed: 502,
    errors.PaymentOwed: 502,
    errors.TryLater: 503,
    body.BodyTooLarge: 413,
    body.BodyTooSlow: 408,
    conditions.PreconditionFailed: 412,
    conditions.EncodingRefused: 415,
    ranges.RangeUnsatisfiable: 416,
    published.Misdirected: 421,
    reinstalls.ReinstallFailed: 502,
    size_changes.ChangeFailed: 502,
    snapshots.SnapshotFailed: 502,
    connections.PortRefused: 502,
    connections.PortSilent: 504,
    hub_errors.RequestRefused: 422,
    hub_errors.FileTooLarge: 413,
    hub_errors.Unavailable: 409,
    hub_errors.TooManyCommands: 429,
    hub_errors.NodeConsolesFull: 503,
    hub_errors.ExecNotFound: 404,
    ssh_keys.KeyMissing: 404,
    pulls.LinkUnknown: 404,
    hub_errors.FileMissing: 404,
    hub_errors.FileRefused: 409,
    hub_errors.SessionFailed: 502,
    hub_errors.Moved: 503,
}


def install(app: FastAPI) -> None:
    """Answer all our exceptions, and those of routing, from this table.

    The handlers are coroutines although none awaits: the framework runs plain functions in threads.
    """
    app.add_exception_handler(errors.Pve402Error, _refusal)
    app.add_exception_handler(payment_errors.PaymentError, _payment_error)
    app.add_exception_handler(proxmox_errors.ProxmoxError, _proxmox_error)
    app.add_exception_handler(HTTPException, _routing_error)


def status_of(kind: type[Exception]) -> int:
    """Return the status for a class of refusal: its own or its nearest base class's."""
    return next((STATUSES[base] for base in kind.__mro__ if base in STATUSES), 500)


def codes() -> list[str]:
    """Return every `code` that a refusal can have."""
    own = {
        kind.code
        for kind in _kinds(errors.Pve402Error)
        if kind.__module__.startswith("pve402.") and status_of(kind) != 500
    }
    of_routing = {code for code, _detail in _ROUTING_WORDS.values()}
    of_payments = {str(code) for code in payment_errors.Code}
    return sorted(own | of_routing | of_payments | {"internal_error", "head_too_large"})


def _kinds(kind: type[errors.Pve402Error]) -> Iterator[type[errors.Pve402Error]]:
    for child in kind.__subclasses__():
        yield child
        yield from _kinds(child)


def problem(status: int, code: str, detail: str, **more: Any) -> Response:
    """Build the answer of a refusal."""
    content = json.dumps({"detail": detail, "code": code, **more}).encode()
    return Response(content, status, media_type="application/json")


def answer(error: errors.Pve402Error) -> Response:
    """Build the answer to one of our refusals."""
    response = problem(status_of(type(error)), error.code, error.detail, **_more(error))
    if error.retry_after_seconds:
        response.headers["retry-after"] = str(error.retry_after_seconds)
    if isinstance(error, ranges.RangeUnsatisfiable):
        response.headers["content-range"] = f"bytes */{error.size_bytes}"
    if isinstance(error, errors.Unauthenticated):
        response.headers["www-authenticate"] = "Bearer"
    return response


def _more(error: errors.Pve402Error) -> dict[str, Any]:
    if isinstance(error, body.BodyInvalid):
        return {"errors": error.problems}
    if isinstance(error, hub_errors.HubError) and error.exec_id:
        return {"execId": error.exec_id}
    return {}


async def _refusal(_request: Request, error: Any) -> Response:
    return answer(error)


async def _payment_error(_request: Request, error: Exception) -> Response:
    """Answer an outage on the payment side; the gate answers rejected payments."""
    if isinstance(error, payment_errors.PaymentRejected):
        return problem(error.status, error.code, error.detail)
    return answer(errors.FacilitatorUnavailable())


async def _proxmox_error(_request: Request, _error: Exception) -> Response:
    """Answer without Proxmox VE's message, which belongs only in the operator's log."""
    return answer(errors.ProxmoxUnavailable())


_ROUTING_WORDS: Final = {
    404: ("not_found", "There is no such route; GET /openapi.json lists all routes."),
    405: ("method_not_allowed", "This route does not support this method."),
    426: (
        "upgrade_required",
        "This address is a websocket; connect to it with a websocket client.",
    ),
}


async def _routing_error(request: Request, error: Any) -> Response:
    code, detail = _ROUTING_WORDS.get(error.status_code, ("invalid_request", str(error.detail)))
    response = problem(error.status_code, code, detail)
    if refusal_page.is_wanted(request):
        response = refusal_page.answer(request, error.status_code, detail)
    if error.status_code == 426:
        response.headers.update({"upgrade": "websocket", "connection": "upgrade"})  # RFC 9110
    if error.status_code == 405:
        if request.method == "OPTIONS":
            response = Response(status_code=204)
        response.headers["allow"] = ", ".join(sorted(_methods_of(request)))
    return response


def _methods_of(request: Request) -> set[str]:
    """Return the methods of all routes that match; the router knows only the first one's.

    A route with exactly this path hides those that would match it as a parameter.
    """
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    named = [route for route in routes if route.path == request.scope["path"]]
    matching = named or [r for r in routes if r.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in matching for method in route.methods or ()}
    return methods | {"HEAD"} if "GET" in methods else methods
