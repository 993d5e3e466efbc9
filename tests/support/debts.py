"""Wallets that are owed money."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support import payments
from tests.support.installation import NETWORK, Installation, creation, owner_of

from pve402.domain import errors, order, owed
from pve402.leases import service
from pve402.payments import protocol
from pve402.payments.facilitators import Settlement
from pve402.storage import tables

START = r"POST .*/status/start$"
DEEP = 12


def mine(shop: Installation, blocks: int = DEEP) -> None:
    """Put blocks on the chain, so that what is in earlier ones is final."""
    for _ in range(blocks):
        shop.chain.rpc("evm_mine")


async def pass_the_window(shop: Installation, row: order.Order) -> None:
    """Let the chain pass the end of an order's payment, by enough blocks to be sure."""
    shop.chain.rpc("evm_setNextBlockTimestamp", int(row.valid_before.timestamp()) + 10)
    mine(shop)
    shop.pass_time(100)
    await shop.settled_down()


async def debts_of(shop: Installation) -> list[owed.Owed]:
    """Every debt, open or closed, oldest first."""
    return [owed.Owed.from_row(row) for row in await shop.rows(tables.owed)]


async def owing(shop: Installation, key: LocalAccount, wish: Any = None) -> owed.Owed:
    """Let a wallet be owed the price of a wish: refused first, and paid by somebody afterwards."""
    wish = wish or creation()
    shop.fail_call(START, times=1)
    purchase = shop.buy(key, wish)
    with pytest.raises(errors.ProvisioningFailed):
        await shop.leases.create(wish, purchase)
    await submit(shop, purchase)
    return await noticed(shop, purchase.payment.payer)


async def submit(shop: Installation, purchase: service.Purchase) -> None:
    """Put a signed payment on chain, as anybody can who has it."""
    facilitator = shop.parts.settler.facilitator_of(NETWORK)
    done: Settlement = await facilitator.settle(purchase.payment, purchase.requirements)
    assert done.transaction is not None


async def noticed(shop: Installation, payer: str) -> owed.Owed:
    """Let the transfer to us be final, and the watch find it."""
    mine(shop)
    await shop.settled_down()
    shop.pass_time(15)
    await shop.settled_down()
    return [debt for debt in await debts_of(shop) if debt.payer == payer][-1]


async def transfer(
    shop: Installation, sender: LocalAccount, recipient: str, amount_atomic: int
) -> str:
    """Send USDC from a wallet to anybody, by a facilitator; return the transaction."""
    terms = payments.requirements(
        amount_atomic=amount_atomic, pay_to=recipient, max_timeout_seconds=600
    )
    until = shop.purchase(sender, 1).payment.valid_before
    signed: protocol.Payment = payments.payment(key=sender, terms=terms, valid_before=until)
    done = await shop.parts.settler.facilitator_of(NETWORK).settle(signed, terms)
    assert done.transaction is not None
    return done.transaction


def wallet(key: LocalAccount) -> service.Caller:
    """A caller who signed in with a key."""
    return service.Caller(owner=owner_of(key), how="wallet", by_key=True)
