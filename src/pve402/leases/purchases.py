"""What a client wants to buy with one payment."""

import dataclasses
from typing import Protocol

from pve402.domain import account
from pve402.payments import errors as payment_errors
from pve402.payments import protocol


class Buyer(Protocol):
    """Who gets a new lease."""

    @property
    def owner(self) -> str:
        """The CAIP-10 account."""
        ...

    @property
    def by_key(self) -> bool:
        """Whether a key proves the account, which is the same on every chain."""
        ...

    @property
    def client_address(self) -> str | None:
        """The network address of the request."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redeemer:
    """A buyer who redeems what is owed."""

    owner: str
    by_key: bool
    client_address: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Purchase:
    """A payment that passed the local checks, and how its sender wants to be served."""

    payment: protocol.Payment
    requirements: protocol.Requirements
    client_address: str | None = None
    idempotency_key: str | None = None
    key_is_secret: bool = True  # False: others may know it, so it brings no token back
    by_key: bool = True  # the payer's own key signed; False for a contract wallet
    payer_has_code: bool | None = None  # None if not checked
    wait_seconds: float = 60.0  # 0: answer as soon as the order is written
    too_late: payment_errors.PaymentRejected | None = None  # set: may match an old order

    @property
    def is_of_another_price(self) -> bool:
        """Whether the payment's amount is none that was asked for lately."""
        late = self.too_late
        return late is not None and late.code is payment_errors.Code.AMOUNT_MISMATCH

    @property
    def settles_first(self) -> bool:
        """Whether the payer is a contract, which may refuse in the transaction after agreeing."""
        return self.payer_has_code is True or not self.by_key

    @property
    def owner(self) -> str:
        """The CAIP-10 account that signed."""
        return account.account(self.payment.network, self.payment.payer)
