"""Describes each route for the document, because handlers parse their requests themselves."""

import dataclasses
import http
from collections.abc import Sequence
from typing import Any, Final

from pve402 import schemas
from pve402.api.openapi import parts
from pve402.api.transport import shapes

_BASIC: Final = (408, 413, 422, 429, 503)
_HEAD_TOO_LARGE: Final = 431  # possible on any route, before the request is read
_PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}


def paid(request: type, answer: Any) -> dict[str, Any]:
    """Document a route that has its own price."""
    documented = _route(
        answer,
        request=request,
        headers=[*parts.PAYMENT_HEADERS, *parts.PURCHASE_HEADERS],
        refusals=[400, 401, 402, 403, 404, 409, 410, 502, *_BASIC],
        more={202: answer},
    )
    documented["shape"] = dataclasses.replace(documented["shape"], is_purchase=True)
    return documented


def fee(
    answer: Any, *, status: int = 200, query: Sequence[str] = (), request: type | None = None
) -> dict[str, Any]:
    """Document a route that needs a token or the management fee."""
    bodied = _BASIC if request else (429, 503)
    return _route(
        answer,
        request=request,
        status=status,
        headers=parts.PAYMENT_HEADERS,
        query=query,
        refusals=[400, 401, 402, 403, 404, 409, 410, *bodied],
    )


def lease_shown() -> dict[str, Any]:
    """Document GET /lease/{ctid}."""
    documented = fee(schemas.LeaseDetails)
    documented["openapi_extra"]["parameters"].append(parts.WAIT)
    return documented


def usage() -> dict[str, Any]:
    """Document GET /lease/{ctid}/usage."""
    documented = fee(schemas.UsageAnswer, query=["timeframe"])
    documented["responses"] |= _refused(422)
    return documented


def execution() -> dict[str, Any]:
    """Document POST /management/exec/{ctid}."""
    return _inside(
        schemas.ExecAnswer,
        request=schemas.ExecRequest,
        headers=[parts.LAST_EVENT_ID],
        more={202: schemas.ExecAnswer},
        events=True,
    )


def console() -> dict[str, Any]:
    """Document POST /management/console/{ctid}."""
    return _inside(schemas.ConsoleAnswer, request=schemas.ConsoleRequest)


def execution_followed() -> dict[str, Any]:
    """Document GET /management/exec/{ctid}/{execId}."""
    return _inside(
        schemas.ExecAnswer, headers=[parts.LAST_EVENT_ID], query=["encoding"], events=True
    )


def execution_stdin() -> dict[str, Any]:
    """Document the route that writes to a command's stdin."""
    return _inside(None, status=204, query=["close"], content=parts.BYTES_BODY)


def execution_change(request: type | None = None) -> dict[str, Any]:
    """Document a route that acts on a command and has no answer body."""
    return _inside(None, status=204, request=request)


def pull() -> dict[str, Any]:
    """Document the route from which containers fetch uploads."""
    documented = _route(None, refusals=[404, 429, 503])
    documented["responses"] |= {200: parts.FILE_BYTES}
    return documented


def keys(request: type | None = None, *, query: Sequence[str] = ()) -> dict[str, Any]:
    """Document a route of a container's SSH keys."""
    return _inside(schemas.KeysAnswer, request=request, query=query)


def ports(answer: Any, *, request: type | None = None, query: Sequence[str] = ()) -> dict[str, Any]:
    """Document a route of a container's published ports."""
    return _inside(answer, request=request, query=query)


def alters(
    answer: Any, *, request: type | None = None, query: Sequence[str] = ()
) -> dict[str, Any]:
    """Document a route of what Proxmox VE may refuse: a container's snapshots, or its size."""
    documented = fee(answer, request=request, query=query)
    documented["responses"] |= _refused(422, 502)
    return documented


def port_request() -> dict[str, Any]:
    """Document the route that passes requests on to a server in a container."""
    refusals = [401, 403, 404, 409, 410, 422, 429, 502, 503, 504]
    documented = _route(None, headers=[parts.PORT_TOKEN], refusals=refusals)
    documented["responses"] |= {200: parts.PORT_BYTES}
    return documented


def file_written() -> dict[str, Any]:
    """Document PUT /management/files/{ctid}."""
    documented = _inside(
        schemas.FileAnswer,
        headers=[parts.CONTENT_DIGEST, *parts.CONDITIONS],
        query=["path", "mode"],
        content=parts.BYTES_BODY,
    )
    documented["responses"] |= _refused(412, 415)
    return documented


def file_read() -> dict[str, Any]:
    """Document GET /management/files/{ctid}."""
    documented = _inside(None, headers=[*parts.CONDITIONS, *parts.RANGES], query=["path"])
    documented["responses"] |= {200: parts.FILE_BYTES, 206: parts.FILE_PART} | _refused(412, 416)
    return documented


def folder_packed() -> dict[str, Any]:
    """Document GET /management/archives/{ctid}."""
    documented = _inside(None, query=["folder", "format"])
    documented["responses"] |= {200: parts.ARCHIVE}
    return documented


def folder_unpacked() -> dict[str, Any]:
    """Document PUT /management/archives/{ctid}."""
    documented = _inside(
        schemas.FileAnswer,
        headers=[parts.CONTENT_DIGEST],
        query=["folder"],
        content=parts.BYTES_BODY,
    )
    del documented["shape"]  # catalogues have no word for an archive
    documented["responses"] |= _refused(415)
    return documented


def folder_listed() -> dict[str, Any]:
    """Document GET /management/folders/{ctid}."""
    return _inside(schemas.FolderAnswer, query=["entry", "depth", "limit", "after"])


def folder_watched() -> dict[str, Any]:
    """Document GET /management/folders/{ctid}/watch."""
    documented = _inside(None, query=["entry", "depth"])
    documented["responses"].setdefault(200, {})["content"] = parts.CHANGES
    return documented


def entry(*query: str) -> dict[str, Any]:
    """Document a route that answers with one file or folder."""
    return _inside(schemas.EntryAnswer, query=query)


def entry_removed() -> dict[str, Any]:
    """Document DELETE /management/entries/{ctid}."""
    return _inside(None, status=204, query=["entry", "recursive"])


def _inside(
    answer: Any,
    *,
    headers: Sequence[dict[str, Any]] = (),
    content: dict[str, Any] | None = None,
    events: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Document a route that reaches into a container."""
    refusals = [400, 401, 402, 403, 404, 408, 409, 410, 413, 422, 429, 502, 503]
    documented = _route(
        answer, headers=[*parts.PAYMENT_HEADERS, *headers], refusals=refusals, **more
    )
    if content is not None:
        documented["openapi_extra"]["requestBody"] = content
        documented["shape"] = dataclasses.replace(documented["shape"], text_body=True)
    if events:
        documented["responses"].setdefault(200, {})["content"] = parts.EVENT_STREAM
    return documented


def free(
    answer: Any, *, request: type | None = None, refusals: Sequence[int] | None = None
) -> dict[str, Any]:
    """Document a free route."""
    bodied = [401, 403, 404, 409, 410, *_BASIC] if request else [429, 503]
    return _route(answer, request=request, refusals=bodied if refusals is None else refusals)


def of_wallet(answer: Any, *, request: type | None = None) -> dict[str, Any]:
    """Document a route that needs a wallet's token."""
    if request is None:
        return _route(answer, refusals=[401, 403, 410, 429, 503])
    return _route(
        answer,
        request=request,
        headers=parts.PURCHASE_HEADERS,
        refusals=[400, 401, 403, 404, 409, 410, 502, *_BASIC],
        more={202: answer},
    )


def revocation() -> dict[str, Any]:
    """Document DELETE /auth/token."""
    return {"status_code": 204} | _route(None, status=204, refusals=[401, 410, 429, 503])


def readiness() -> dict[str, Any]:
    """Document GET /readyz."""
    return _route(schemas.Health, more={503: schemas.Health})


def _phrase(code: int) -> str:
    """The status phrase of RFC 9110; Pythons before 3.13 have older phrases."""
    return _PHRASES.get(code) or http.HTTPStatus(code).phrase


def _refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": schemas.Problem, "description": _phrase(status)} for status in statuses
    }


def _route(
    answer: Any,
    *,
    request: type | None = None,
    status: int = 200,
    headers: Sequence[dict[str, Any]] = (),
    query: Sequence[str] = (),
    refusals: Sequence[int] = (),
    more: dict[int, Any] | None = None,
) -> dict[str, Any]:
    responses = _refused(*sorted({_HEAD_TOO_LARGE, *refusals} - {402}))
    if 402 in refusals:
        responses[402] = parts.PAYMENT_REQUIRED
    for code, model in (more or {}).items():
        responses[code] = {"model": model, "description": _phrase(code)}
    queries = [parts.QUERIES[name] for name in query]
    extra: dict[str, Any] = {"parameters": [*headers, *queries]}
    if request is not None:
        extra["requestBody"] = parts.request_body(request)
    documented = {
        "response_model": answer,
        "status_code": status,
        "responses": responses,
        "openapi_extra": extra,
    }
    if 402 in refusals:
        shape = shapes.Shape(request=request, answer=answer, queries=queries)
        documented["shape"] = shape
    return documented
