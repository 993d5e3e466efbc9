"""Requests a second of a running server beside others, turn by turn in the same minutes."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from tests.bench import load, rows
from tests.support import payments, processes
from tests.support.api_fixtures import BODY

from pve402.payments import protocol

ROUNDS = 7
SECONDS = 2
PAID_CALLS = 400
PAID_AT_ONCE = 8

Measure = Callable[[load.Target], load.Rate]


def measure(devnet: processes.DevnetProcess, folder: Path) -> list[rows.Row]:
    """Unpaid requests, free ones, and paid calls."""
    with (
        load.peer("stub") as stub,
        load.peer("bare") as bare,
        load.peer("official", stub.url) as official,
        load.peer("raw") as raw,
        processes.serving(
            folder, devnet, TRUST_FACILITATOR="1", FACILITATOR_URL=stub.url
        ) as service,
    ):
        ours = load.Target(url=service.url, pid=service.process.popen.pid)
        everybody = {"ours": ours, "official": official, "bare": bare, "raw": raw}
        unpaid = _by_turns(everybody, lambda one: load.post(one, "/lease/container", BODY, SECONDS))
        free = _by_turns(everybody, lambda one: load.get(one, "/healthz", SECONDS))
        paid = _by_turns(
            {"ours": ours, "official": official}, lambda one: asyncio.run(_paid(one)), rounds=3
        )
    return [
        _row("unpaid 402", "official middleware", unpaid, "official", "2"),
        _row("", "bare FastAPI, same body and answer", unpaid, "bare", "0.9"),
        _row("", "raw ASGI, nothing read", unpaid, "raw", "-"),
        _row("free route", "bare FastAPI", free, "bare", "1.0"),
        _row("", "FastAPI behind official middleware", free, "official", "-"),
        _row("paid call, stub facilitator", "official middleware", paid, "official", "2"),
    ]


def _row(
    what: str, beside: str, rates: Mapping[str, list[load.Rate]], peer: str, aim: str
) -> rows.Row:
    return rows.Row(
        what=what,
        ours=rows.told(rates["ours"]) if what else "",
        beside=beside,
        peer=rows.told(rates[peer]),
        ratio=rows.compared(rates["ours"], rates[peer]),
        aim=aim,
    )


def _by_turns(
    targets: Mapping[str, load.Target], measure_one: Measure, *, rounds: int = ROUNDS
) -> dict[str, list[load.Rate]]:
    """Measure all, again and again, so that what else the machine does meets all alike."""
    found: dict[str, list[load.Rate]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            found[name].append(measure_one(target))
    return found


async def _paid(target: load.Target) -> load.Rate:
    """Pay for a list of leases with payments signed beforehand, each of another wallet."""
    url, times = f"{target.url}/management/list", list[float]()
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as unpaid:
            asked = json.loads(base64.b64decode(unpaid.headers["PAYMENT-REQUIRED"]))
        calls = [_signed(asked["accepts"][0]) for _ in range(PAID_CALLS)]

        async def work() -> None:
            while calls:
                value = calls.pop()
                began = time.perf_counter()
                async with session.get(url, headers={protocol.V2_HEADER: value}) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"{answer.status}: {body[:200]!r}")
                times.append(time.perf_counter() - began)

        before, began = target.cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(PAID_AT_ONCE)))
        seconds, used = time.perf_counter() - began, target.cpu_seconds() - before
    ordered = sorted(times)
    return load.Rate(
        per_second=len(times) / seconds,
        p50_ms=ordered[len(ordered) // 2] * 1e3,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1e3,
        cpu_us=used / len(times) * 1e6,
    )


def _signed(accepted: dict[str, Any]) -> str:
    """A payment of a fresh wallet for terms as a server gave them."""
    terms = payments.requirements(
        amount_atomic=int(accepted["amount"]),
        pay_to=accepted["payTo"].lower(),
        max_timeout_seconds=accepted["maxTimeoutSeconds"],
    )
    until = int(time.time()) + accepted["maxTimeoutSeconds"]
    key = payments.account(secrets.randbelow(2**200) + 1)
    paid = payments.payment(key=key, terms=terms, valid_before=until)
    return payments.encode({**payments.document(paid, terms), "accepted": accepted})
