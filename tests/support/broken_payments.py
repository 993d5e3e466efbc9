"""Installations whose chain, facilitator or database is broken."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import types
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiohttp import web
from eth_account import Account
from tests.support import stand_ins
from tests.support.broken import World, broken, setting
from tests.support.installation import Installation, running

from pve402.ops.checks import payments as payment_checks

setting("a chain that cannot be read", rpc_url="http://127.0.0.1:9")
setting("a facilitator that does not answer", facilitator_url="http://127.0.0.1:9")


@broken("a chain that is behind")
async def _behind(world: World) -> AsyncIterator[None]:
    later = types.SimpleNamespace(time=lambda: time.time() + 3600)
    world.monkeypatch.setattr(payment_checks, "time", later)
    yield


def _rpc(answers: dict[str, Any]) -> AbstractAsyncContextManager[str]:
    """A chain that answers each method so; with an error, if that is what is given."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        given = answers.get(asked["method"], {"code": -32601, "message": "no such method"})
        key = "error" if isinstance(given, dict) and "code" in given else "result"
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], key: given})

    return stand_ins.answering(answer)


@broken("a chain of another network")
async def _other_chain(world: World) -> AsyncIterator[None]:
    async with _rpc({"eth_chainId": "0x1"}) as world.changes["rpc_url"]:
        yield


@broken("a chain whose events cannot be searched")
async def _no_events(world: World) -> AsyncIterator[None]:
    block = {"number": "0x10", "timestamp": hex(int(time.time()))}
    answers = {"eth_chainId": hex(84532), "eth_getBlockByNumber": block}
    async with _rpc(answers) as world.changes["rpc_url"]:
        yield


OWN_KEY = "0x" + "ab" * 32
OWN_ACCOUNT = Account.from_key(OWN_KEY).address


def _with_own_key(world: World, gas: int) -> None:
    price = int(world.chain.rpc("eth_gasPrice"), 16)
    world.chain.rpc("anvil_setBalance", OWN_ACCOUNT, hex(gas * price))
    world.changes |= {"facilitator_url": None, "facilitator_private_key": OWN_KEY}


@broken("a facilitator for other networks")
async def _other_networks(world: World) -> AsyncIterator[None]:
    kind = {"x402Version": 2, "scheme": "exact", "network": "eip155:8453"}

    async def supported(_: web.Request) -> web.Response:
        return web.json_response({"kinds": [kind], "extensions": [], "signers": {}})

    async with stand_ins.answering(supported) as world.changes["facilitator_url"]:
        yield


@broken("an own key without gas")
async def _no_gas(world: World) -> AsyncIterator[None]:
    _with_own_key(world, gas=0)
    yield


@broken("an own key with little gas")
async def _little_gas(world: World) -> AsyncIterator[None]:
    _with_own_key(world, gas=3 * 100_000)
    yield


@broken("a database of a newer version")
async def _newer(world: World) -> AsyncIterator[None]:
    url = f"sqlite:///{world.folder}/pve402.sqlite3"
    async with running(url, world.proxmox, world.chain, world.facilitator):
        pass
    with contextlib.closing(sqlite3.connect(world.folder / "pve402.sqlite3")) as file:
        file.execute("UPDATE alembic_version SET version_num = '9000'")
        file.commit()
    yield


@broken("no directory for the database")
async def _no_directory(world: World) -> AsyncIterator[None]:
    world.database_url = f"sqlite:///{world.folder}/nowhere/pve402.sqlite3"
    yield


@broken("a file that is not a database")
async def _no_database(world: World) -> AsyncIterator[None]:
    (world.folder / "pve402.sqlite3").write_bytes(b"something else entirely\n" * 400)
    yield


@broken("PostgreSQL cannot be reached")
async def _no_server(world: World) -> AsyncIterator[None]:
    world.database_url = "postgresql://pve402:secret@127.0.0.1:9/pve402"
    yield


@broken("containers of another installation name")
async def _other_name(world: World) -> AsyncIterator[None]:
    url = f"sqlite:///{world.folder}/pve402.sqlite3"
    made: Installation
    async with running(url, world.proxmox, world.chain, world.facilitator) as made:
        await made.lease()
    world.changes["pve402_instance"] = "other"
    yield
