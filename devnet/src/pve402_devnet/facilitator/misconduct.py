"""Carries out a planned fault: what it does, and what it answers instead of the truth."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from pve402_devnet.facilitator import questions
from pve402_devnet.facilitator.faults import Endpoint, Fault, FaultKind
from pve402_devnet.facilitator.questions import Json

STRANGER = "0x00000000000000000000000000000000DeaDBeef"
OTHER_NETWORK = "eip155:1"
MAX_PENDING = 10_000

AFTER_TRANSFER = frozenset(
    {
        FaultKind.ERROR_AFTER_TRANSFER,
        FaultKind.SILENT_AFTER_TRANSFER,
        FaultKind.MALFORMED,
        FaultKind.WRONG_SHAPE,
        FaultKind.NESTED,
        FaultKind.HUGE,
        FaultKind.LYING_NO,
        FaultKind.WRONG_PAYER,
        FaultKind.WRONG_NETWORK,
        FaultKind.PENDING,
        FaultKind.PENDING_500,
    }
)
FIXED = {
    FaultKind.UNAVAILABLE: (503, '{"error": "unavailable"}'),
    FaultKind.ERROR_AFTER_TRANSFER: (500, '{"error": "internal error"}'),
    FaultKind.MALFORMED: (200, '{"success": tru'),
    FaultKind.WRONG_SHAPE: (200, '{"ok": "certainly"}'),
    FaultKind.NESTED: (200, "[" * 60_000),
    FaultKind.HUGE: (200, '{"success": true, "padding": "' + "x" * 16 * 2**20 + '"}'),
}
TWISTED = {
    FaultKind.WRONG_PAYER: {"payer": STRANGER},
    FaultKind.WRONG_NETWORK: {"network": OTHER_NETWORK},
}
PENDING = {FaultKind.PENDING: 200, FaultKind.PENDING_500: 500, FaultKind.PENDING_LOST: 200}
SILENT = frozenset({FaultKind.SILENT, FaultKind.SILENT_AFTER_TRANSFER})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an honest facilitator would answer."""

    status: int
    body: Json


Honest = Callable[[], Awaitable[Answer]]


class Misconduct:
    """Answers calls, honestly or with a fault; remembers answers that it held back."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._pending: dict[str, Answer] = {}
        self._last_transaction = "0x" + secrets.token_hex(32)

    async def answer(
        self, endpoint: Endpoint, question: Json, fault: Fault | None, honest: Honest
    ) -> web.Response:
        """The response to one call."""
        if fault is None or fault.kind is FaultKind.SLOW:
            await self._wait(fault.delay_seconds if fault else 0)
            return _response(await self._truth(endpoint, question, honest))
        body: Json = {}
        if fault.kind in AFTER_TRANSFER:
            truth = await self._truth(endpoint, question, honest)
            body = truth.body
            if fault.kind in PENDING:
                self._hold_back(question, truth)
        if fault.kind in SILENT:
            await self._stopping.wait()
            return web.Response(status=503)
        return self._misspoken(fault.kind, endpoint, question, body)

    async def _truth(self, endpoint: Endpoint, question: Json, honest: Honest) -> Answer:
        """Do the work, unless it was done and only the answer was held back."""
        if endpoint is Endpoint.SETTLE and (
            held := self._pending.pop(questions.payment_key(question), None)
        ):
            return held
        truth = await honest()
        if endpoint is Endpoint.SETTLE and truth.body.get("success"):
            self._last_transaction = truth.body["transaction"]
        return truth

    def _hold_back(self, question: Json, truth: Answer) -> None:
        if len(self._pending) >= MAX_PENDING:
            self._pending.clear()
        self._pending[questions.payment_key(question)] = truth

    def _misspoken(
        self, kind: FaultKind, endpoint: Endpoint, question: Json, truth: Json
    ) -> web.Response:
        if kind in FIXED:
            status, text = FIXED[kind]
            return web.Response(status=status, text=text, content_type="application/json")
        if kind in TWISTED:
            return web.json_response(truth | TWISTED[kind])
        if kind is FaultKind.LYING_NO:
            return web.json_response(_no(endpoint, question))
        if kind in PENDING:
            body = _pending(question, truth.get("transaction"))
            return web.json_response(body, status=PENDING[kind])
        borrowed = kind is FaultKind.BORROWED_YES
        transaction = self._last_transaction if borrowed else _invented()
        return web.json_response(_yes(endpoint, question, transaction))

    async def _wait(self, seconds: float) -> None:
        if not seconds:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _response(answer: Answer) -> web.Response:
    return web.json_response(answer.body, status=answer.status)


def _yes(endpoint: Endpoint, question: Json, transaction: str) -> Json:
    payer = questions.authorization(question).get("from", STRANGER)
    if endpoint is Endpoint.VERIFY:
        return {"isValid": True, "payer": payer}
    network = questions.network(question)
    return {"success": True, "payer": payer, "transaction": transaction, "network": network}


def _no(endpoint: Endpoint, question: Json) -> Json:
    payer = questions.authorization(question).get("from", STRANGER)
    reason = "insufficient_funds"
    if endpoint is Endpoint.VERIFY:
        return {"isValid": False, "invalidReason": reason, "payer": payer}
    network = questions.network(question)
    return {
        "success": False,
        "errorReason": reason,
        "payer": payer,
        "transaction": "",
        "network": network,
    }


def _pending(question: Json, transaction: str | None) -> Json:
    return _no(Endpoint.SETTLE, question) | {
        "errorReason": "settlement_pending",
        "transaction": transaction or _invented(),
    }


def _invented() -> str:
    return "0x" + secrets.token_hex(32)
