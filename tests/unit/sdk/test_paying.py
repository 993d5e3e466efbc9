"""What a box pays: once, within its limits, and never unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support.tenant_service import ITEM, KEY, LEASE, LEASE_ID

import pve402
from pve402 import client, schemas
from pve402.client import ledger, refusals, spending
from pve402.sdk import paying, wishes

PENDING = refusals.of(503, "order_pending", "wait")
FULL = refusals.of(409, "no_capacity", "full")


class Gone(Exception):
    """The test has seen enough."""


class Kept:
    """A box whose renewals go as planned: an error, or True for a success."""

    def __init__(self, *plan: Exception | bool) -> None:
        self.expires_at: datetime | None = datetime.now(UTC)
        self.plan = iter(plan)
        self.keys: list[str] = []
        self.seen_later = False

    async def show(self) -> schemas.LeaseItem:
        if self.seen_later:
            self.expires_at = datetime.now(UTC) + timedelta(minutes=10)
        return schemas.LeaseItem.model_validate(ITEM)

    async def renew(self, minutes: int, cap: Decimal, once: str, book: ledger.Ledger) -> None:
        self.keys.append(once)
        assert cap == Decimal("0.01")
        planned = next(self.plan)
        terms = spending.Terms(
            service="s", what="w", payer="p", network="n", asset="a", amount_atomic=4000, decimals=6
        )
        book.reserve(terms)
        if isinstance(planned, Exception):
            raise planned
        assert self.expires_at
        self.expires_at += timedelta(minutes=minutes) if planned else timedelta(0)


async def kept(
    box: Kept,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    turns: int,
    behind: int = 0,
    **limits: int,
) -> Any:
    """Keep a box alive for so many looks, in a program with these limits."""
    book = ledger.Ledger(tmp_path / "book", purse="ci", limits=spending.Limits(**limits))
    keeping, looks = paying.Keeping(minutes=1, max_usd=Decimal("0.01")), itertools.count(1)

    async def look(_seconds: float) -> None:
        if next(looks) >= turns:
            raise Gone
        box.expires_at = datetime.now(UTC) if not box.seen_later else box.expires_at

    def now() -> datetime:
        return datetime.now(UTC) - timedelta(minutes=behind)

    monkeypatch.setattr(asyncio, "sleep", look)
    with contextlib.suppress(Gone):
        await paying.keep_alive(box, box.renew, keeping, book, now=now)
    return keeping


async def test_renewals_stop_where_the_budget_ends(tmp_path, monkeypatch) -> None:
    box = Kept(True, True, True, True)

    keeping = await kept(box, tmp_path, monkeypatch, turns=9)

    assert (keeping.renewals, keeping.is_over) == (2, True)
    assert keeping.spent_usd == Decimal("0.008")
    assert isinstance(keeping.problem, client.OverLimit)
    assert len(set(box.keys)) == 3


async def test_a_renewal_is_counted_once_its_price_is_known(tmp_path, monkeypatch) -> None:
    box, keeping = Kept(True), paying.Keeping(minutes=1, max_usd=Decimal("0.01"))
    honest, counted = ledger.Ledger.spent, []

    def spent(book: ledger.Ledger, **purse: Any) -> Any:
        counted.append(keeping.renewals)
        return honest(book, **purse)

    async def ends(_seconds: float) -> None:
        raise Gone

    monkeypatch.setattr(ledger.Ledger, "spent", spent)
    monkeypatch.setattr(asyncio, "sleep", ends)
    book = ledger.Ledger(tmp_path / "book", purse="ci", limits=spending.Limits())
    with pytest.raises(Gone):
        await paying.keep_alive(box, box.renew, keeping, book, now=lambda: datetime.now(UTC))

    assert (counted, keeping.renewals) == ([0], 1)
    assert keeping.spent_usd == Decimal("0.004")


@pytest.mark.parametrize(
    "limits", [{"in_all_micro_usd": 7999}, {"per_hour_micro_usd": 4000}, {"per_call_micro_usd": 1}]
)
async def test_renewals_stop_at_the_limits_of_their_program(tmp_path, monkeypatch, limits) -> None:
    box = Kept(True, True, True)

    keeping = await kept(box, tmp_path, monkeypatch, turns=9, **limits)

    assert (keeping.renewals, keeping.is_over) == (int("per_call_micro_usd" not in limits), True)
    assert isinstance(keeping.problem, client.OverLimit)


async def test_what_is_due_is_due_by_the_services_time(tmp_path, monkeypatch) -> None:
    box = Kept(True)

    await kept(box, tmp_path, monkeypatch, turns=3, behind=60)

    assert box.keys == []


async def test_an_unknown_renewal_is_repeated_as_itself(tmp_path, monkeypatch) -> None:
    unknown = client.OutcomeUnknown("no answer", "k")
    box = Kept(unknown, True)

    keeping = await kept(box, tmp_path, monkeypatch, turns=2)

    assert len(set(box.keys)) == 1
    assert keeping.spent_usd == Decimal("0.008")
    assert keeping.renewals == 1


async def test_an_unknown_renewal_that_was_made_is_not_repeated(tmp_path, monkeypatch) -> None:
    box = Kept(client.OutcomeUnknown("no answer", "k"))
    box.seen_later = True

    keeping = await kept(box, tmp_path, monkeypatch, turns=3)

    assert len(box.keys) == 1
    assert keeping.problem is None


async def test_a_refused_renewal_is_asked_for_anew(tmp_path, monkeypatch) -> None:
    box = Kept(FULL, True)

    keeping = await kept(box, tmp_path, monkeypatch, turns=2)

    assert len(set(box.keys)) == 2
    assert keeping.problem is None


async def test_a_lease_that_is_over_is_not_kept(tmp_path, monkeypatch) -> None:
    box = Kept(refusals.of(409, "lease_over", "over"))

    keeping = await kept(box, tmp_path, monkeypatch, turns=9)

    assert keeping.is_over
    assert len(box.keys) == 1


@pytest.mark.parametrize(
    ("error", "is_open"),
    [(PENDING, True), (client.ServiceUnreachable("gone"), True), (FULL, False)],
)
async def test_a_sent_payment_is_never_left_unmentioned(error: Exception, is_open: bool) -> None:
    async def buy(so_far: client.standing.Standing) -> Any:
        so_far.note(schemas.LeaseAnswer.model_validate(LEASE) if error is PENDING else None)
        raise error

    with pytest.raises(client.OutcomeUnknown if is_open else type(error)) as raised:
        await paying.settled(buy, "the-key")

    if isinstance(raised.value, client.OutcomeUnknown):
        assert raised.value.idempotency_key == "the-key"
        assert raised.value.lease_id == (LEASE_ID if error is PENDING else "")


async def test_an_interrupted_payment_says_how_to_go_on() -> None:
    async def buy(so_far: client.standing.Standing) -> Any:
        so_far.note(None)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError) as raised:
        await paying.settled(buy, "the-key")

    assert "'the-key'" in raised.value.__notes__[0]


async def test_before_a_payment_an_error_is_just_itself() -> None:
    async def buy(_: client.standing.Standing) -> Any:
        raise PENDING

    with pytest.raises(refusals.OrderOpen):
        await paying.settled(buy, "k")


@pytest.mark.parametrize("amount", ["", "a lot", "NaN", "-1", "Infinity"])
def test_an_amount_that_is_none_is_refused(amount: str) -> None:
    with pytest.raises(client.RequestInvalid):
        paying.usd(amount)


def test_what_cannot_be_sent_is_said_without_its_values() -> None:
    with pytest.raises(client.RequestInvalid, match="timeout_seconds") as raised:
        wishes.checked(
            schemas.ExecRequest, command="x", timeout_seconds=10**9, stdin="s3cret" * 2**18
        )

    assert "s3cret" not in str(raised.value)


@pytest.fixture
async def seller() -> AsyncIterator[Any]:
    """A service that sells, and answers everything else as a test says."""
    from tests.support import tenant_service

    handlers: dict[str, tenant_service.Handler] = {}

    async def handle(request: Any) -> Any:
        return await handlers[f"{request.method} {request.path}"](request)

    async with tenant_service.serving(handle) as service:
        yield service, handlers, tenant_service


BOUNDS = {"min": 2, "max": 3}
SKU = {
    **dict.fromkeys(
        ("description", "baseUsd", "coreMinuteUsd", "memoryGBMinuteUsd", "diskGBMinuteUsd"), "0"
    ),
    "sku": "big",
    "cores": BOUNDS,
    "memoryMB": {"min": 64, "max": 256},
    "diskGB": {"min": 1, "max": 99},
    "runtimeMinutes": BOUNDS,
    "templates": [],
}


async def test_what_is_left_open_is_chosen_the_same_each_time(seller: Any) -> None:
    service, handlers, answers = seller
    catalogue = {"skus": [SKU], "managementFeeUsd": "0", "networks": []}
    handlers["GET /catalogue"] = answers.says(catalogue)
    fields = dict.fromkeys(("sku", "cores", "memory_mb", "disk_gb", "password", "hostname"))
    fields |= {"runtime_minutes": 2, "ssh_public_keys": []}

    async with client.Client(service.url) as caller:
        first = await wishes.lease(caller, KEY, "once", **fields)
        again = await wishes.lease(caller, KEY, "once", **fields)
        other = await wishes.lease(caller, KEY, "twice", **fields)
        stranger = await wishes.lease(caller, "0x" + "b2" * 32, "once", **fields)
        with pytest.raises(client.RequestInvalid, match="no such sku"):
            await wishes.lease(caller, KEY, "once", **{**fields, "sku": "small"})

    assert first == again
    assert (first.sku, first.cores, first.memory_mb, first.disk_gb) == ("big", 2, 256, 8)
    assert len({first.password, other.password, stranger.password}) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({**ITEM, "leaseId": "../../owed"}, client.UnexpectedAnswer),
        ({**ITEM, "status": "ended"}, pve402.LeaseOver),
    ],
)
async def test_a_box_that_is_none_is_not_connected_to(seller: Any, answer: Any, kind: type) -> None:
    service, handlers, answers = seller
    handlers[f"GET /lease/{LEASE_ID}"] = answers.says(answer)

    with pytest.raises(kind):
        await pve402.AsyncBox.connect(service.url, LEASE_ID, token="t")


async def test_the_end_is_asked_for_until_it_is_known(seller: Any, monkeypatch) -> None:
    service, handlers, answers = seller
    given = answers.answers(
        answers.refusal(409, "lease_busy", "wait"),
        answers.refusal(503, "try_later", "wait"),
        answers.says(ITEM),
        answers.refusal(410, "lease_ended", "over"),
        answers.refusal(403, "not_allowed", "no"),
    )
    handlers |= {f"GET /lease/{LEASE_ID}": answers.says(ITEM), f"DELETE /lease/{LEASE_ID}": given}
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _seconds: real(0))

    for _ in range(2):
        async with pve402.AsyncBox.connect(service.url, LEASE_ID, token="t", ends_on_exit=True):
            pass
    with pytest.raises(ZeroDivisionError) as raised:
        async with pve402.AsyncBox.connect(service.url, LEASE_ID, token="t", ends_on_exit=True):
            _ = 1 / 0

    assert "could not be ended" in raised.value.__notes__[0]
    assert sum(asked.method == "DELETE" for asked in service.asked) == 5


MADE = {**LEASE, "networkStatus": "pending"}
SIZE = {"sku": "big", "cores": 2, "memory_mb": 256, "disk_gb": 8}


@pytest.fixture
def leased(seller: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Leases a box whose network is pending; `looks` are the answers to who looks at it."""
    service, handlers, answers = seller
    handlers["POST /lease/container"] = answers.says(MADE)
    handlers[f"DELETE /lease/{LEASE_ID}"] = answers.says(ITEM)
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _seconds: real(0))

    def lease(*looks: Any, **wish: Any) -> Any:
        handlers[f"GET /lease/{LEASE_ID}"] = answers.answers(*looks)
        return pve402.AsyncBox.lease(service.url, minutes=2, **SIZE, **wish)

    return service, lease, answers


async def test_a_box_is_there_once_its_network_is(leased: Any) -> None:
    service, lease, answers = leased
    waits, ready = (answers.says({**ITEM, "networkStatus": it}) for it in ("pending", "ready"))

    async with lease(waits, waits, ready) as box:
        asked = [one.method for one in service.asked]

    assert box.lease_id == LEASE_ID
    assert asked == ["POST", "GET", "GET", "GET"]


async def test_who_does_not_want_to_wait_gets_the_box_at_once(leased: Any) -> None:
    service, lease, _ = leased

    async with lease(waits_for_network=False) as box:
        assert box.seen.network_status == "pending"
        assert [one.method for one in service.asked] == ["POST"]


async def test_a_paid_box_is_handed_over_even_if_its_network_cannot_be_seen(leased: Any) -> None:
    _, lease, answers = leased

    async with lease(answers.refusal(403, "not_allowed", "no")) as box:
        assert (box.token, box.seen.network_status) == ("lease-token", "pending")


async def test_a_wait_for_the_network_that_is_interrupted_ends_the_lease(leased: Any) -> None:
    service, lease, _ = leased
    looked = asyncio.Event()

    async def hang(_request: Any) -> Any:
        looked.set()
        await asyncio.Event().wait()

    making = asyncio.ensure_future(lease(hang).__aenter__())
    await looked.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making

    assert [one.method for one in service.asked] == ["POST", "GET", "DELETE"]


def test_the_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wishes.KEY_VARIABLE, f" {KEY}\n")

    assert wishes.wallet_key(None) == KEY
    assert wishes.wallet_key("mine") == "mine"
