"""Who may call the gateway: programs of this user that hold its key, and no page of a browser.

Host must be the loopback address itself, so that a name that leads here (DNS rebinding) does not
open it. Browsers send Origin with every request of a page that could do harm, so any Origin is
refused, and nothing allows a page to read an answer.
"""

import base64
import binascii
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from pve402 import client
from pve402.e2b import guests, refusals, sandboxes, secret

SANDBOXES: Final = web.AppKey("sandboxes", sandboxes.Sandboxes)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DEFAULT_USER: Final = "user"


@web.middleware
async def own_machine(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse what a browser's page or a foreign name sends."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport else None
    if name is None or request.headers.getall("Host", []) != [f"{name[0]}:{name[1]}"]:
        return refusals.answer(403, "the gateway answers only at its loopback address")
    if "Origin" in request.headers:
        return refusals.answer(403, "web pages may not use the gateway")
    return await handler(request)


@web.middleware
async def refusals_told(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Answer refusals."""
    try:
        return await handler(request)
    except refusals.Gone as gone:
        return refusals.gone(gone.sandbox_id)
    except refusals.GONE as error:
        return await _lost(request, error)
    except (refusals.Refused, client.ClientError) as error:
        told = refusals.of(error)
        return refusals.answer(told.status, told.message)
    except web.HTTPException as error:
        is_unknown = error.status in {404, 405}
        why = "pve402 does not offer this part of E2B's API" if is_unknown else error.reason
        return refusals.answer(501 if is_unknown else error.status, why)


async def _lost(request: web.Request, error: client.ClientError) -> web.StreamResponse:
    """The service says that a sandbox's lease is over.

    The header names it only where its token was checked: not beside a signature, nor our key.
    """
    is_named = "signature" not in request.query and "sandboxes" not in request.path
    inside = request.headers.get("E2b-Sandbox-Id", "") if is_named else ""
    sandbox_id = inside or request.match_info.get("id", "")
    await request.app[SANDBOXES].lost(sandbox_id)
    if "sandboxes" in request.path:
        return refusals.answer(404, str(error))
    return refusals.gone(client.plain(sandbox_id, 64))


def check_key(request: web.Request) -> None:
    """Check the key of a call to the control API. Raises Refused."""
    if not secret.is_same(request.headers.get("X-API-Key", ""), request.app[SANDBOXES].key):
        raise refusals.Refused("unauthenticated", "the API key is not the gateway's")


async def sandbox(request: web.Request) -> tuple[guests.Guest, sandboxes.Live, dict[str, str]]:
    """The sandbox of a call into it, and its variables. Raises Gone, Refused."""
    sandbox_id = request.headers.get("E2b-Sandbox-Id", "")
    all_of_them = request.app[SANDBOXES]
    token = secret.token_of(all_of_them.key, sandbox_id)
    if not secret.is_same(request.headers.get("X-Access-Token", ""), token):
        raise refusals.Refused("unauthenticated", "the sandbox's access token is missing or wrong")
    one, live = await all_of_them.live(sandbox_id)
    return live.guest, live, one.envs


def user_name(request: web.Request) -> str:
    """The user that a call names by Basic authentication. Raises Refused."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return _DEFAULT_USER
    try:
        name = base64.b64decode(text, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        raise refusals.Refused("unauthenticated", "the user name cannot be read") from None
    return name or _DEFAULT_USER


async def file_of(request: web.Request, act: str) -> tuple[guests.Guest, guests.Person, str]:
    """The file of an upload or a download, by token or by signature. Raises Gone, Refused."""
    query = request.query
    if "signature" in query:
        guest = await _signed_for(request, act)
    else:
        guest, _, _ = await sandbox(request)
    person = await guest.person(query.get("username") or _DEFAULT_USER)
    return guest, person, query.get("path", "")


async def _signed_for(request: web.Request, act: str) -> guests.Guest:
    """The sandbox whose token signed the address, which does not name it. Raises Refused."""
    query, all_of_them = request.query, request.app[SANDBOXES]
    expires = query.get("signature_expiration", "")
    for one in await all_of_them.all():
        token = secret.token_of(all_of_them.key, one.sandbox_id)
        signed = (query.get("path", ""), act, query.get("username", ""), token, expires)
        if secret.is_same(query["signature"], secret.signature(*signed)):
            if expires and not (
                expires.isascii() and expires.isdigit() and int(expires[:18]) > time.time()
            ):
                raise refusals.Refused("unauthenticated", "signature is already expired")
            return (await all_of_them.live(one.sandbox_id))[1].guest
    raise refusals.Refused("unauthenticated", "invalid signature")
