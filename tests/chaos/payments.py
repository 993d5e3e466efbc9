"""What tenants sign: payments, and what takes a payment's effect away before it is settled."""

import dataclasses
import secrets
import time
from typing import Any

from tests.chaos import payers, stage
from tests.support import chain as chain_support
from tests.support import payments, wallets
from tests.support import token as contract

from pve402.payments import protocol

SOMEBODY = "0x" + "cd" * 20


@dataclasses.dataclass(kw_only=True, eq=False)
class Signed:
    """A payment that was signed, what it was for, and what its sender was told."""

    payer: payers.Payer
    payment: protocol.Payment = dataclasses.field(repr=False)
    header: dict[str, str] = dataclasses.field(repr=False)
    kind: str  # creation, renewal, fee
    minutes: int = 0
    wish: Any = None  # the body of the request
    lease_id: str | None = None  # of a renewal; of a creation once it was told
    copies: list[str] = dataclasses.field(default_factory=list)  # leases that a fork was told of
    spoiled: str | None = None  # how its sender made it worthless
    spoiled_in_time: bool = False
    told: list[tuple[int, str]] = dataclasses.field(default_factory=list)  # status, code
    violations: list[str] = dataclasses.field(default_factory=list)

    @property
    def nonce(self) -> str:
        """What the chain knows it by, with the payer."""
        return self.payment.nonce


def sign(payer: payers.Payer, amount_atomic: int, version: int = 2, **what: Any) -> Signed:
    """Pay the operator an amount."""
    terms = payments.requirements(
        amount_atomic=amount_atomic,
        pay_to=stage.PAY_TO,
        network=stage.NETWORK,
        max_timeout_seconds=600,
    )
    paid = payments.payment(
        version=version,
        key=payer.key,
        terms=terms,
        payer=payer.address,
        valid_before=int(time.time()) + 600,
    )
    name = "X-PAYMENT" if version == 1 else "PAYMENT-SIGNATURE"
    header = {name: payments.encode(payments.document(paid, terms))}
    return Signed(payer=payer, payment=paid, header=header, **what)


def spoiling_call(signed: Signed, how: str) -> str:
    """The call to the token, in hex, that makes a payment worthless if it comes first."""
    key, paid = signed.payer.key, signed.payment
    nonce = bytes.fromhex(paid.nonce[2:])
    if how == "cancelled":
        message = {"authorizer": key.address, "nonce": nonce}
        proof = contract.split(chain_support.sign(key, message, kind="CancelAuthorization"))
        values = (*message.values(), *proof)
        signature = f"cancelAuthorization(address,bytes32,{contract.FORMS['vrs']})"
        return contract.call_data(signature, values).hex()
    other = chain_support.authorization(
        key.address,
        SOMEBODY,
        paid.amount_atomic,
        nonce=nonce if how == "spent elsewhere" else secrets.token_bytes(32),
    )
    proof = contract.split(chain_support.sign(key, other))
    signature = f"transferWithAuthorization({contract.AUTHORIZATION},{contract.FORMS['vrs']})"
    return contract.call_data(signature, (*other.values(), *proof)).hex()


SPOILINGS = ("cancelled", "spent elsewhere", "balance moved")


def sign_officially(signed: Signed, terms: wallets.Terms, version: int) -> None:
    """Have the official client sign instead; the payment is what it put into the header."""
    signed.header = wallets.payment_headers(signed.payer.key, terms, version=version)
    document = wallets.decoded(next(iter(signed.header.values())))
    authorization = document["payload"]["authorization"]
    signed.payment = dataclasses.replace(
        signed.payment,
        nonce=authorization["nonce"],
        valid_after=int(authorization["validAfter"]),
        valid_before=int(authorization["validBefore"]),
        signature=document["payload"]["signature"],
    )
