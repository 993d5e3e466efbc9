"""Creations and renewals that a contract pays, before their guests start."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from eth_account.signers.local import LocalAccount
from tests.support import awkward, payments
from tests.support.chain import new_account
from tests.support.installation import PAY_TO, Installation, creation

from pve402.domain import lease
from pve402.leases import service
from pve402.payments.schemes.exact import local_checks
from pve402_devnet.chain.contracts import Manner

MONEY = 1_000_000


def bought(
    shop: Installation,
    owner: LocalAccount,
    wallet: str,
    *,
    amount_atomic: int | None = None,
    **changes: Any,
) -> service.Purchase:
    """What a contract pays, with its owner's signature: a creation, unless for another amount."""
    amount_atomic = amount_atomic or shop.price_of(creation())
    terms = payments.requirements(
        amount_atomic=amount_atomic, pay_to=PAY_TO, max_timeout_seconds=600
    )
    until = int(time.time() + shop.parts.db.shift_seconds) + 600
    unsigned = payments.payment(terms=terms, payer=wallet, valid_before=until, signature="0x00")
    signed = owner.unsafe_sign_hash(local_checks.digest(unsigned, terms))
    paid = dataclasses.replace(unsigned, signature="0x" + bytes(signed.signature).hex())
    by_key = wallet == owner.address.lower()
    return service.Purchase(payment=paid, requirements=terms, by_key=by_key, **changes)


def renewed_by_new(
    shop: Installation, row: lease.Lease, minutes: int, **changes: Any
) -> service.Purchase:
    """A renewal that a new contract with money pays."""
    amount_atomic = shop.renewal(new_account(), row, minutes).payment.amount_atomic
    return bought_by_new(shop, amount_atomic=amount_atomic, **changes)


def bought_by_new(shop: Installation, **changes: Any) -> service.Purchase:
    """What a new contract with money pays."""
    owner = new_account()
    wallet = awkward.deploy(shop.chain, owner, Manner.HONEST, usdc_atomic=MONEY)
    return bought(shop, owner, wallet, **changes)
