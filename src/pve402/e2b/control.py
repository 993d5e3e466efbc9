"""E2B's control API: sandboxes, and the templates that they are made from.

Paths and fields are those of E2B's openapi.yml. Limits on the network and everything else that is
not offered are refused, never ignored.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pve402 import client
from pve402.e2b import door, records, refusals, sandboxes, secret

#: Up to here the SDKs know what to ask for; file metadata, of 0.6.2, is refused.
ENVD_VERSION: Final = "0.6.4"
_LARGEST_PAGE: Final = 100
_MOST_PAIRS: Final = 128
_MOST_CHARACTERS: Final = 8192
#: Fields of a new sandbox that must say nothing, and why.
_NOT_OFFERED: Final = {
    "network": "limits on the network are not offered; leave `network` out",
    "autoPause": "sandboxes cannot be paused",
    "autoResume": "sandboxes cannot be paused",
    "iam": "workload identity is not offered",
    "mcp": "MCP servers in sandboxes are not offered",
    "volumeMounts": "volumes are not offered",
}

_ASKS_FOR_NOTHING: Final[tuple[Any, ...]] = (
    None,
    False,
    {},
    [],
    {"enabled": False},
    {"allowPublicTraffic": True},
)


class _Words(BaseModel):
    """What a program sends; fields that are not known yet are left alone."""

    model_config = ConfigDict(strict=True)


class _New(_Words):
    """A new sandbox."""

    template_id: str = Field("base", alias="templateID", max_length=128)
    timeout: int = sandboxes.DEFAULT_SECONDS
    metadata: dict[str, str] | None = Field(None, max_length=_MOST_PAIRS)
    env_vars: dict[str, str] | None = Field(None, alias="envVars", max_length=_MOST_PAIRS)


class _Time(_Words):
    """How long a sandbox shall last from now on, in seconds."""

    timeout: int = sandboxes.DEFAULT_SECONDS


def add_to(app: web.Application) -> None:
    """Add the routes."""
    for version in ("", "/v2"):
        app.router.add_post(f"{version}/sandboxes", create)
        app.router.add_get(f"{version}/sandboxes", show_all)
        app.router.add_post(f"{version}/sandboxes/{{id}}/connect", connect)
    app.router.add_get("/sandboxes/{id}", show)
    app.router.add_delete("/sandboxes/{id}", kill)
    app.router.add_post("/sandboxes/{id}/timeout", set_timeout)
    app.router.add_get("/templates", templates)
    app.router.add_get("/v2/templates", templates)
    for path in ("pause", "snapshots", "fork", "resume"):
        app.router.add_post(f"/sandboxes/{{id}}/{path}", not_offered)
    app.router.add_put("/sandboxes/{id}/network", not_offered)
    app.router.add_get("/snapshots", nothing)
    app.router.add_get("/volumes", nothing)


async def create(request: web.Request) -> web.Response:
    """Lease a container."""
    document = await _document(request)
    _check_offered(document)
    wish = _read(document, _New)
    _check_size(wish.metadata, wish.env_vars)
    one = await request.app[door.SANDBOXES].make(
        sandboxes.Wish(
            template=wish.template_id,
            timeout_seconds=wish.timeout,
            metadata=wish.metadata or {},
            envs=wish.env_vars or {},
            idempotency_key=request.headers.get("Idempotency-Key") or None,
        )
    )
    return web.json_response(await _opened(request, one), status=201)


async def connect(request: web.Request) -> web.Response:
    """Come back to a sandbox, which then lasts at least as long as asked for."""
    found = await _extended(request, may_shorten=False)
    return web.json_response(await _opened(request, found))


async def set_timeout(request: web.Request) -> web.Response:
    """Let a sandbox end so many seconds from now."""
    await _extended(request, may_shorten=True)
    return web.Response(status=204)


async def show(request: web.Request) -> web.Response:
    """Describe a sandbox."""
    one = await _named(request)
    return web.json_response({**(await _opened(request, one)), **_described(one)})


async def show_all(request: web.Request) -> web.Response:
    """List the sandboxes, a page at a time."""
    door.check_key(request)
    found = _chosen(await request.app[door.SANDBOXES].all(), request.query)
    limit, start = (_number(request.query, name) for name in ("limit", "nextToken"))
    limit = min(limit or _LARGEST_PAGE, _LARGEST_PAGE)
    page = [_described(one) for one in found[start : start + limit]]
    is_last = start + limit >= len(found)
    headers = {} if is_last else {"x-next-token": str(start + limit)}
    return web.json_response(page, headers=headers)


async def kill(request: web.Request) -> web.Response:
    """End a sandbox."""
    one = await _named(request)
    await request.app[door.SANDBOXES].end(one.sandbox_id)
    return web.Response(status=204)


async def templates(request: web.Request) -> web.Response:
    """List what sandboxes can be made from."""
    door.check_key(request)
    known = request.app[door.SANDBOXES].templates
    return web.json_response([_template(name, one) for name, one in known.items()])


async def nothing(request: web.Request) -> web.Response:
    """An empty list: there are none, since none can be made."""
    door.check_key(request)
    return web.json_response([])


async def not_offered(request: web.Request) -> web.Response:
    """Refuse what a lease cannot do."""
    door.check_key(request)
    what = request.path.rpartition("/")[2]
    raise refusals.Refused("unimplemented", f"pve402 does not offer `{what}` for sandboxes")


async def _document(request: web.Request) -> dict[str, Any]:
    door.check_key(request)
    try:
        found = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise refusals.Refused("invalid_argument", "the body is not a JSON object")
    return found


def _read(document: dict[str, Any], kind: type[Any]) -> Any:
    given = {name: value for name, value in document.items() if value is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        told = client.plain(f"{where}: {first['msg']}", 200)
        raise refusals.Refused("invalid_argument", told) from None


def _check_offered(document: dict[str, Any]) -> None:
    if document.get("allow_internet_access", document.get("allowInternetAccess")) is False:
        raise refusals.Refused("invalid_argument", "sandboxes without internet are not offered")
    for name, why in _NOT_OFFERED.items():
        if document.get(name) not in _ASKS_FOR_NOTHING:
            raise refusals.Refused("invalid_argument", why)


def _check_size(*given: Mapping[str, str] | None) -> None:
    if (
        sum(len(name) + len(text) for one in given for name, text in (one or {}).items())
        > _MOST_CHARACTERS
    ):
        raise refusals.Refused("invalid_argument", "the metadata or the variables are too long")


async def _named(request: web.Request) -> records.Sandbox:
    door.check_key(request)
    sandbox_id = request.match_info["id"]
    try:
        return await request.app[door.SANDBOXES].find(sandbox_id)
    except refusals.Gone:
        told = f"sandbox {client.plain(sandbox_id, 64)} not found"
        raise refusals.Refused("not_found", told) from None


async def _extended(request: web.Request, *, may_shorten: bool) -> records.Sandbox:
    wish = _read(await _document(request), _Time)
    one = await _named(request)
    return await request.app[door.SANDBOXES].set_timeout(
        one.sandbox_id, wish.timeout, may_shorten=may_shorten
    )


async def _opened(request: web.Request, one: records.Sandbox) -> dict[str, Any]:
    """What an SDK needs to use a sandbox."""
    known = request.app[door.SANDBOXES]
    token = secret.token_of(known.key, one.sandbox_id)
    return {
        "sandboxID": one.sandbox_id,
        "templateID": one.template,
        "alias": one.template,
        "clientID": "pve402",
        "envdVersion": ENVD_VERSION,
        "envdAccessToken": token,
        "trafficAccessToken": token,
        "domain": await known.domain(one.sandbox_id),
    }


def _described(one: records.Sandbox) -> dict[str, Any]:
    return {
        "sandboxID": one.sandbox_id,
        "templateID": one.template,
        "alias": one.template,
        "clientID": "pve402",
        "startedAt": records.moment(one.started_at),
        "endAt": records.moment(min(one.ends_at, one.paid_until)),
        "cpuCount": one.cores,
        "memoryMB": one.memory_mb,
        "diskSizeMB": one.disk_gb * 1024,
        "metadata": one.metadata,
        "state": "running",
        "envdVersion": ENVD_VERSION,
    }


def _chosen(found: list[records.Sandbox], query: Mapping[str, str]) -> list[records.Sandbox]:
    """The sandboxes that a query asks for, in its order."""
    states = query.get("state", "running").split(",")
    wanted = dict(parse_qsl(query.get("metadata", "")))
    since = _since(query)
    chosen = [
        one
        for one in found
        if "running" in states
        and wanted.items() <= one.metadata.items()
        and query.get("template", one.template) == one.template
        and one.started_at > since
    ]
    return chosen[::-1] if query.get("order") == "asc" else chosen


def _since(query: Mapping[str, str]) -> float:
    text = query.get("startedAfter")
    return records.seconds(text) - 0.001 if text else 0.0


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise refusals.Refused("invalid_argument", f"{name} is not a number")
    return int(text)


def _template(name: str, one: sandboxes.Template) -> dict[str, Any]:
    never = records.moment(0)
    return {
        "templateID": name,
        "buildID": one.sku or "default",
        "cpuCount": one.cores or 1,
        "memoryMB": one.memory_mb or 512,
        "diskSizeMB": (one.disk_gb or 8) * 1024,
        "public": False,
        "aliases": [name],
        "names": [name],
        "createdAt": never,
        "updatedAt": never,
        "createdBy": None,
        "lastSpawnedAt": None,
        "spawnCount": 0,
        "buildCount": 0,
        "buildStatus": "ready",
        "envdVersion": ENVD_VERSION,
    }
