"""Tenants whose payment was refused, and is submitted by somebody afterwards: they are owed it.

The wallet is filled again, a stranger submits what it signed, and the tenant asks what it is owed
and redeems it, on two servers at once, while servers die.
"""

import asyncio
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from eth_account.messages import encode_defunct
from tests.chaos import evidence, payments, stage
from tests.support import chain as chain_support
from tests.support import token as contract

from pve402.domain import order
from pve402.storage import tables

_AGAIN_SECONDS = 1.0


class Answer(Protocol):
    """What a service said."""

    @property
    def status(self) -> int: ...

    @property
    def body(self) -> Any: ...


Ask = Callable[[str, str, Any, Mapping[str, str]], Awaitable[Answer | None]]


@dataclasses.dataclass(kw_only=True)
class Latecomer:
    """A tenant with a refused payment."""

    where: stage.Stage
    ask: Ask
    dice: random.Random
    signed: payments.Signed
    wish: Mapping[str, Any]
    give_up_at: float  # of time.monotonic()

    async def pay_late(self) -> bool:
        """Let a stranger submit the payment if its order was refused; return whether it landed."""
        if not await self._is_refused():
            return False
        paid = self.signed.payment
        await self.where.rpc("devnet_mintUsdc", paid.payer, hex(paid.amount_atomic))
        return await self.where.transact(_transfer(self.signed))

    async def redeem(self) -> bool:
        """Redeem what is owed, if it is told in time; return whether there is a lease for it."""
        while time.monotonic() < self.give_up_at:
            headers = await self._signed_in()
            listed = await self.ask("GET", "/owed", None, headers) if headers else None
            redeemable = [] if listed is None or listed.status != 200 else listed.body
            for item in redeemable:
                if item["owedId"] is not None and item["status"] != "delivering":
                    return await self._redeem(item["owedId"], headers)
            await asyncio.sleep(_AGAIN_SECONDS)
        return False

    async def _redeem(self, owed_id: str, headers: Mapping[str, str]) -> bool:
        """Ask for the whole of it, twice at once, until one way or the other is certain."""
        leases: set[str] = set()
        while time.monotonic() < self.give_up_at and not leases:
            path = f"/owed/{owed_id}/redeem"
            asks = [self.ask("POST", path, self.wish, headers) for _ in range(2)]
            told = [one for one in await asyncio.gather(*asks) if one is not None]
            leases |= {one.body["leaseId"] for one in told if one.status == 200}
            if any(one.status == 404 for one in told):
                break  # redeemed by an attempt whose answer was lost
            await asyncio.sleep(_AGAIN_SECONDS)
        if len(leases) > 1:
            self.signed.violations.append("a debt was redeemed for two leases")
        return bool(leases)

    async def _is_refused(self) -> bool:
        rows = await evidence.read_rows(self.where.database_url, tables.orders)
        return any(
            (row["payer"], row["nonce"]) == (self.signed.payment.payer, self.signed.nonce)
            and row["status"] == order.OrderStatus.REFUSED.value
            for row in rows
        )

    async def _signed_in(self) -> Mapping[str, str]:
        """The header of a wallet token; empty if no server answers."""
        address = self.signed.payer.address
        asked = await self.ask("POST", "/auth/challenge", {"address": address}, {})
        if asked is None or asked.status != 200:
            return {}
        message = asked.body["message"]
        signature = self.signed.payer.key.sign_message(encode_defunct(text=message)).signature.hex()
        proof = {"message": message, "signature": signature}
        issued = await self.ask("POST", "/auth/token", proof, {})
        if issued is None or issued.status != 200:
            return {}
        return {"Authorization": f"Bearer {issued.body['accessToken']}"}


def _transfer(signed: payments.Signed) -> str:
    """The call to the token, in hex, that submits a payment."""
    paid = signed.payment
    message = chain_support.authorization(
        signed.payer.key.address,
        paid.pay_to,
        paid.amount_atomic,
        valid_after=paid.valid_after,
        valid_before=paid.valid_before,
        nonce=bytes.fromhex(paid.nonce[2:]),
    )
    proof = contract.split(bytes.fromhex(paid.signature[2:]))
    signature = f"transferWithAuthorization({contract.AUTHORIZATION},{contract.FORMS['vrs']})"
    return contract.call_data(signature, (*message.values(), *proof)).hex()
