"""What operators see of money that is owed, and how they close it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.integration.ops.test_ops import Screen
from tests.support import debts
from tests.support.installation import PAY_TO, Installation

from pve402.domain import owed as owed_words
from pve402.leases import metrics
from pve402.ops import owed, revenue


async def closed(shop: Installation, transaction: str, **which: Any) -> tuple[int, str]:
    """Close by a transaction; return the exit code and what was printed."""
    screen = Screen()
    code = await owed.close(shop.parts, screen.console, transaction=transaction, **which)
    return code, screen.text


def figures() -> list[float]:
    """The metric of what is owed, on every network."""
    return [sample.value for family in metrics.OWED.collect() for sample in family.samples]


async def owing(shop: Installation) -> tuple[LocalAccount, owed_words.Owed]:
    """A wallet that is owed money, and what."""
    key = shop.tenant()
    return key, await debts.owing(shop, key)


async def test_what_is_owed_is_listed_with_payer_amount_and_reason(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    _, debt = await owing(installation)
    screen = Screen()
    capsys.readouterr()

    await owed.show(installation.parts, screen.console)
    await owed.show(installation.parts, screen.console, as_json=True)

    (row,) = json.loads(capsys.readouterr().out)
    for fact in (debt.owed_id, debt.payer, debt.network, "paid_after_refusal", "redeemable"):
        assert fact in screen.text
    assert (row["owedId"], row["amountAtomic"]) == (debt.owed_id, str(debt.left_atomic))
    assert row["tries"] == 0


async def test_nothing_owed_is_told_in_words(installation: Installation) -> None:
    screen = Screen()

    await owed.show(installation.parts, screen.console)

    assert screen.text == "nothing is owed\n"


async def test_revenue_tells_what_is_owed_from_what_is_earned(installation: Installation) -> None:
    _, debt = await owing(installation)
    screen = Screen()

    await revenue.Revenue(since_days=1, output="table").show(installation.parts, screen.console)

    assert "no order was settled in these days" in screen.text
    assert f"{debt.left_atomic / 10**6} USDC owed to tenants, not earned" in screen.text


async def test_the_metric_is_what_is_owed_now(installation: Installation) -> None:
    shop = installation
    _, debt = await owing(shop)
    await shop.parts.lease_reconciler.run_once()
    before = figures()
    paid = await debts.transfer(shop, shop.tenant(), debt.payer, debt.left_atomic)
    debts.mine(shop)
    await closed(shop, paid)

    await shop.parts.lease_reconciler.run_once()

    assert (before, figures()) == ([debt.left_atomic], [])


async def test_a_transfer_to_the_payer_closes_what_is_owed_once(installation: Installation) -> None:
    shop = installation
    key, debt = await owing(shop)
    sender = shop.tenant()
    paid = await debts.transfer(shop, sender, debt.payer, debt.left_atomic)
    early = await closed(shop, paid)
    debts.mine(shop)

    code, text = await closed(shop, paid)
    second = await debts.owing(shop, key)
    again = await closed(shop, paid)

    assert early == (1, "")
    assert (code, debt.owed_id in text) == (0, True)
    assert again == (1, "")
    first, other = await debts.debts_of(shop)
    assert (first.closed_at is not None, first.paid_transaction) == (True, paid)
    assert (other.owed_id, other.closed_at) == (second.owed_id, None)


async def test_one_transfer_closes_one_debt_and_the_largest_that_it_covers(
    installation: Installation,
) -> None:
    shop = installation
    key = shop.tenant()
    small = await debts.owing(shop, key, debts.creation(minutes=5))
    large = await debts.owing(shop, key, debts.creation(minutes=9))
    amount = small.left_atomic + large.left_atomic
    paid = await debts.transfer(shop, shop.tenant(), large.payer, amount)
    debts.mine(shop)

    code, _ = await closed(shop, paid)

    assert code == 0
    left = [debt.owed_id for debt in await debts.debts_of(shop) if debt.closed_at is None]
    assert left == [small.owed_id]


async def test_a_debt_is_chosen_by_its_id(installation: Installation) -> None:
    shop = installation
    key = shop.tenant()
    small = await debts.owing(shop, key, debts.creation(minutes=5))
    large = await debts.owing(shop, key, debts.creation(minutes=9))
    paid = await debts.transfer(shop, shop.tenant(), large.payer, large.left_atomic)
    debts.mine(shop)

    code, text = await closed(shop, paid, owed_id=small.owed_id)

    assert (code, small.owed_id in text) == (0, True)


@pytest.mark.parametrize("kind", ["too little", "to somebody", "to itself", "no transaction"])
async def test_what_pays_nothing_back_closes_nothing(installation: Installation, kind: str) -> None:
    shop = installation
    key, debt = await owing(shop)
    sender = key if kind == "to itself" else shop.tenant()
    recipient = PAY_TO if kind == "to somebody" else debt.payer
    amount = debt.left_atomic - (kind == "too little")
    paid = await debts.transfer(shop, sender, recipient, amount)
    debts.mine(shop)

    code, _ = await closed(shop, "0x" + "ab" * 32 if kind == "no transaction" else paid)

    assert code == 1
    assert [debt.closed_at for debt in await debts.debts_of(shop)] == [None]


async def test_a_transfer_from_before_the_debt_closes_nothing(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    paid = await debts.transfer(shop, shop.tenant(), key.address.lower(), 500_000)
    shop.chain.rpc("evm_increaseTime", 5)
    debts.mine(shop)
    await debts.owing(shop, key)

    code, _ = await closed(shop, paid)

    assert code == 1


async def test_what_is_no_hash_is_refused(installation: Installation) -> None:
    assert (await closed(installation, "0xabc"))[0] == 2


async def test_a_chain_that_cannot_be_read_closes_nothing(installation: Installation) -> None:
    shop = installation
    _, debt = await owing(shop)
    paid = await debts.transfer(shop, shop.tenant(), debt.payer, debt.left_atomic)
    debts.mine(shop)
    await shop.chain.__aexit__(None, None, None)

    code, _ = await closed(shop, paid)

    assert code == 3
    assert [debt.closed_at for debt in await debts.debts_of(shop)] == [None]
