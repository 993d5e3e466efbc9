"""Payers: keys, and contract wallets, honest ones and ones that lie to the question.

A liar's contract says yes when it is asked (`eth_call`) and no in the transaction, or wants more
gas there than anybody sends. It signs like everybody else and must never get anything.
"""

import dataclasses
import random
import secrets

from eth_account import Account
from eth_account.signers.local import LocalAccount
from tests.chaos import stage

from pve402_devnet.chain.contracts import Manner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What a payer is on chain; without a manner it is just a key."""

    name: str
    manner: Manner | None = None
    limit: int = 0
    delegates: bool = False  # a key's own account that runs a wallet's code (EIP-7702)

    @property
    def has_code(self) -> bool:
        """Whether a contract decides."""
        return self.manner is not None


KEY = Kind(name="key")
_MUCH_GAS = 2_000_000
CONTRACTS = tuple(
    Kind(name=f"{name}{after}", manner=manner, limit=limit, delegates=delegates)
    for name, manner, limit in (
        ("honest contract", Manner.HONEST, 0),
        ("two-faced contract", Manner.ONLY_TO_NOBODY, 0),
        ("contract that wants gas", Manner.WANTS_GAS, _MUCH_GAS),
    )
    for after, delegates in (("", False), (", delegated", True))
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Payer:
    """Who pays: an address, the key that signs for it, and what it is."""

    key: LocalAccount = dataclasses.field(repr=False)
    address: str  # in lower case
    kind: Kind = KEY


def new_payer() -> Payer:
    """A key that owns nothing."""
    made: LocalAccount = Account.from_key(secrets.token_bytes(32))
    return Payer(key=made, address=made.address.lower())


async def new_contract(where: stage.Stage, dice: random.Random) -> Payer:
    """A contract wallet of some kind that owns nothing."""
    kind = dice.choice(CONTRACTS)
    owner = new_payer()
    wallet = await where.make_wallet(owner.address, int(kind.manner or 0), kind.limit)
    if kind.delegates:
        await where.rpc("anvil_setCode", owner.address, "0xef0100" + wallet[2:])
        wallet = owner.address
    return Payer(key=owner.key, address=wallet, kind=kind)
