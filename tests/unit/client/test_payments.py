"""What the tenants' client notes in the spend ledger, and what it does not sign."""

import asyncio
import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.scripted_seller import ACCEPTED, DONE, PENDING, WISH, Script, receipt, script
from tests.support.tenant_service import KEY, LEASE_ID

from pve402 import client
from pve402.client import ledger, spending
from pve402.client.spending import State

__all__ = ["script"]


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([DONE], State.SETTLED),
        ([PENDING, ACCEPTED, DONE], State.SETTLED),
        ([(200, {"odd": 1}, receipt())], State.SETTLED),
        ([(502, {"detail": "", "code": "payment_owed"}, {})], State.SETTLED),
        ([(402, {"detail": "", "code": "insufficient_funds"}, {})], State.REFUSED),
        ([(409, {"detail": "", "code": "no_capacity"}, {})], State.REFUSED),
        ([(400, ["a proxy's page"], {})], State.SENT),
        ([PENDING], State.SENT),
        ([ACCEPTED], State.SENT),
        ([None], State.SENT),
    ],
)
async def test_the_ledger_says_what_became_of_a_payment(
    script: Script, tmp_path: Path, answers: list, state: State
):
    script.answers, book = list(answers), ledger.Ledger(tmp_path / "book")
    patience = 60 if len(answers) > 1 else 0

    async with client.Client(script.url, key=KEY, patience_seconds=patience, book=book) as tenant:
        with contextlib.suppress(client.ClientError):
            await tenant.lease(WISH)

    (found,) = book.payments()
    assert (found.state, found.amount_atomic, found.micro_usd) == (state, 2000, 2000)
    assert (found.service, found.what) == (script.url, "/lease/container")
    assert f'"nonce": "{found.nonce}"' in _sent_payment(script)


@pytest.mark.parametrize("first", [None, DONE])
async def test_the_same_key_sends_the_same_payment(script: Script, tmp_path: Path, first: Any):
    script.answers, path = [first, DONE], tmp_path / "book"

    for _ in range(2):  # each is a program of its own
        book = ledger.Ledger(path)
        async with client.Client(script.url, key=KEY, patience_seconds=0, book=book) as tenant:
            with contextlib.suppress(client.ServiceUnreachable):
                bought = await tenant.lease(WISH, idempotency_key="once")

    (found,) = book.payments()
    assert (found.state, bought.answer.access_token) == (State.SETTLED, "lease-token")
    assert script.paid[0]["PAYMENT-SIGNATURE"] == script.paid[1]["PAYMENT-SIGNATURE"]
    assert script.paid[0]["PAYMENT-SIGNATURE"] not in repr(book.sent_for("once", script.url, ""))


async def test_two_programs_with_the_same_key_send_the_same_payment(script: Script, tmp_path: Path):
    script.answers, book = [DONE, DONE], ledger.Ledger(tmp_path / "book")

    async def buy() -> str | None:
        async with client.Client(script.url, key=KEY, book=book) as tenant:
            return (await tenant.lease(WISH, idempotency_key="once")).answer.access_token

    assert await asyncio.gather(buy(), buy()) == ["lease-token"] * 2
    assert len({paid["PAYMENT-SIGNATURE"] for paid in script.paid}) == 1
    assert [one.state for one in book.payments([State.SETTLED, State.SENT])] == [State.SETTLED]


@pytest.mark.parametrize("change", ["key", "wallet", "path", "refused", "void"])
async def test_another_purchase_is_signed_anew(script: Script, tmp_path: Path, change: str):
    refused = (402, {"detail": "", "code": "insufficient_funds"}, {})
    script.answers = [refused if change == "refused" else None, DONE]
    book = ledger.Ledger(tmp_path / "book")
    key = "0x" + "b2" * 32 if change == "wallet" else KEY

    async with client.Client(script.url, key=KEY, patience_seconds=0, book=book) as tenant:
        with pytest.raises(client.ClientError):
            await tenant.lease(WISH, idempotency_key="once")
    if change == "void":
        book.void(book.payments()[0].payment_id)
    async with client.Client(script.url, key=key, book=book) as tenant:
        if change == "path":
            await tenant.renew("10000", 5, idempotency_key="once")
        else:
            await tenant.lease(WISH, idempotency_key="twice" if change == "key" else "once")

    assert len(book.payments()) == 2
    assert script.paid[0]["PAYMENT-SIGNATURE"] != script.paid[1]["PAYMENT-SIGNATURE"]


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_promise_is_no_purchase(script: Script, tmp_path: Path, is_told: bool):
    script.answers, told = [ACCEPTED] * 2, []
    book = ledger.Ledger(tmp_path / "book")

    async with client.Client(script.url, key=KEY, patience_seconds=0, book=book) as tenant:
        with pytest.raises(client.OutcomeUnknown) as unknown:
            await tenant.lease(
                WISH, idempotency_key="once", on_progress=told.append if is_told else None
            )

    assert (unknown.value.idempotency_key, unknown.value.lease_id) == ("once", LEASE_ID)
    assert len(told) == 2 * is_told


async def test_over_the_ledgers_limit_nothing_is_signed(script: Script, tmp_path: Path):
    limits = spending.Limits(in_all_micro_usd=3999)
    book = ledger.Ledger(tmp_path / "book", limits=limits)
    script.answers = [DONE]

    async with client.Client(script.url, key=KEY, book=book) as tenant:
        await tenant.lease(WISH)
        with pytest.raises(client.OverLimit):
            await tenant.lease(WISH)

    assert len(script.paid) == len(book.payments()) == 1


async def test_without_a_usable_ledger_nothing_is_signed(script: Script, tmp_path: Path):
    (tmp_path / "book").write_text("no database" * 100)

    async with client.Client(script.url, key=KEY, book=ledger.Ledger(tmp_path / "book")) as tenant:
        with pytest.raises(client.LedgerUnusable):
            await tenant.lease(WISH)

    assert script.paid == []


@pytest.mark.parametrize(
    "terms",
    [
        {"extra": {"name": "USDC", "version": "2", "assetTransferMethod": "permit2"}},
        {"extra": {"name": "USDC", "version": "2", "paymentFlow": "escrow"}},
        {"maxTimeoutSeconds": 10**9},
        {"maxTimeoutSeconds": -5},
        {"amount": "-5"},
        {"amount": "1e3"},
        {"asset": "0x" + "5e" * 20},
        {"network": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"},
    ],
)
async def test_terms_that_a_ledger_cannot_keep_to_are_not_signed(
    script: Script, tmp_path: Path, terms: dict[str, Any]
):
    script.terms, book = terms, ledger.Ledger(tmp_path / "book")

    async with client.Client(script.url, key=KEY, book=book) as tenant:
        with pytest.raises((client.OverCap, client.UnexpectedAnswer)):
            await tenant.lease(WISH)

    assert script.paid == []
    assert book.spent().in_all_micro_usd == 0


def _sent_payment(script: Script) -> str:
    payload = base64.b64decode(script.paid[0]["PAYMENT-SIGNATURE"])
    return json.dumps(json.loads(payload))
