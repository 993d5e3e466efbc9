"""How tenants ask and pay: they send the same payment again until the answer is final.

Whatever breaks, a buyer asks until there is an answer or its patience ends, and checks what it is
told against the chain.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from tests.chaos import payers, payments, stage
from tests.chaos.ledger import Ledger, Told
from tests.support import wallets

from pve402.payments import abi
from pve402.payments.schemes.exact import eip3009

PATIENCE_SECONDS = 45.0
LAST_PATIENCE_SECONDS = 10.0  # when all should come to an end
WALLET_USDC = 50_000_000
_FINAL = {"provisioning_failed", "payment_owed"}
_AGAIN = {429, 500, 502, 503, 504}
_NOBODY: Mapping[str, str] = {}


class Buyer:
    """Asks and pays for one tenant."""

    def __init__(self, where: stage.Stage, ledger: Ledger, dice: random.Random) -> None:
        self._stage = where
        self._ledger = ledger
        self._dice = dice

    async def fund(self, wallet: payers.Payer) -> None:
        """Give a wallet money."""
        await self._stage.rpc("devnet_mintUsdc", wallet.address, hex(WALLET_USDC))

    async def sign(
        self,
        payer: payers.Payer,
        path: str,
        body: Any,
        kind: str,
        lease_id: str | None = None,
        *,
        holder: Mapping[str, str] = _NOBODY,
        tries: int = 40,
    ) -> payments.Signed | None:
        """Ask for the price and sign what it says; None if it is not sold now."""
        told = await self._price(path, body, holder, tries)
        if told is None:
            return None
        amount = int(told.body["accepts"][0]["maxAmountRequired"])
        minutes = (body or {}).get("runtimeMinutes", 0)
        version = self._dice.choice((1, 2))
        what = {"kind": kind, "minutes": minutes, "wish": body, "lease_id": lease_id}
        signed = payments.sign(payer, amount, version, **what)
        if not payer.kind.has_code and self._dice.random() < 0.05:
            terms = wallets.Terms(headers=told.headers, body=json.dumps(told.body).encode())
            payments.sign_officially(signed, terms, version)
        self._ledger.signed.append(signed)
        return signed

    async def _price(
        self, path: str, body: Any, holder: Mapping[str, str], tries: int
    ) -> Told | None:
        for _ in range(tries):
            told = await self.ask("GET" if body is None else "POST", path, body, holder)
            if told is not None and told.status == 402:
                return told
            if told is not None and told.status in {401, 404, 409, 422}:
                self._ledger.count(f"not for sale: {told.code}")
                return None
            await asyncio.sleep(0.2)
        return None

    async def pay(
        self,
        signed: payments.Signed,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        *,
        spoil: bool,
    ) -> Told | None:
        """Send a payment, now and then twice; or spoil it, after which there is no answer."""
        if spoil:
            await self.spoil(signed, path, body, headers)
            return None
        return await self.buy(signed, path, body, headers, twice=self._dice.random() < 0.15)

    async def buy(
        self,
        signed: payments.Signed,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        *,
        twice: bool = False,
    ) -> Told | None:
        """Send a payment until it is answered, perhaps on two servers at once."""
        asks = [self.until_answered(signed, "POST", path, body, headers)]
        if twice:
            asks.append(self.until_answered(signed, "POST", path, body, headers))
        answers = [told for told in await asyncio.gather(*asks) if told is not None]
        good = [told for told in answers if told.status == 200]
        for told in good:
            await self._check_bought(signed, told)
        if len({_bought(told) for told in good}) > 1:
            signed.violations.append("one payment was answered with two leases")
        with_token = [told for told in good if told.body.get("accessToken")]
        return next(iter([*with_token, *good, *answers]), None)

    async def spoil(
        self, signed: payments.Signed, path: str, body: Any, headers: Mapping[str, str]
    ) -> None:
        """Send a payment and make it worthless while it is being worked on."""
        how = self._dice.choice(payments.SPOILINGS)
        signed.spoiled = how
        if how == "balance moved":
            await self._empty(signed)
        buying = asyncio.create_task(self.buy(signed, path, body, headers))
        await asyncio.sleep(self._dice.uniform(0.0, 0.25))
        signed.spoiled_in_time = await self._stage.transact(payments.spoiling_call(signed, how))
        await buying

    async def _empty(self, signed: payments.Signed) -> None:
        """Leave the wallet just what the payment is worth, so that one transfer empties it."""
        surplus = WALLET_USDC - signed.payment.amount_atomic
        rest = payments.sign(signed.payer, surplus, kind="rest")
        await self._stage.transact(payments.spoiling_call(rest, "balance moved"))

    async def until_answered(
        self,
        signed: payments.Signed,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str],
    ) -> Told | None:
        """Ask until there is a final answer; None if there is none in a while."""
        give_up_at = min(
            time.monotonic() + PATIENCE_SECONDS, self._ledger.ends_at() + LAST_PATIENCE_SECONDS
        )
        while time.monotonic() < give_up_at:
            told = await self.ask(method, path, body, headers)
            if told is not None:
                signed.told.append((told.status, told.code))
                self._ledger.count(f"{told.status} {told.code}".strip())
            final = told is not None and told.status not in _AGAIN | {202}
            if final or (told is not None and told.code in _FINAL):
                return told
            await asyncio.sleep(self._dice.uniform(0.1, 0.6))
        return None

    async def ask(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> Told | None:
        """Ask one of the servers; None if it did not answer."""
        data = None if body is None else json.dumps(body)
        url = f"{self._stage.any_url()}{path}"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._stage.session.request(
                method, url, data=data, headers={"Content-Type": "application/json", **headers}
            ) as response:
                raw = await response.read()
                try:
                    content = json.loads(raw or b"null")
                except ValueError:
                    self._ledger.violations.append(f"{response.status} {raw[:200]!r} is no JSON")
                    return None
                return Told(status=response.status, body=content, headers=dict(response.headers))
        return None

    async def check_paid(self, signed: payments.Signed, transaction: str) -> None:
        """See that the money was there when the answer came."""
        if self._ledger.blocks_vanish:
            return
        topics = [eip3009.AUTHORIZATION_USED, _word(signed.payment.payer), signed.nonce]
        receipt = await self._stage.rpc("eth_getTransactionReceipt", transaction)
        if receipt is None or all(log["topics"] != topics for log in receipt["logs"]):
            signed.violations.append("200 without a transfer on the chain")

    async def _check_bought(self, signed: payments.Signed, told: Told) -> None:
        if told.body["status"] == "provisioning":
            signed.violations.append("200 for a lease that is not there yet")
            return
        if signed.lease_id not in {None, _bought(told)}:
            signed.violations.append("a payment was answered with another lease")
        signed.lease_id = _bought(told)
        if not told.body.get("transaction"):
            signed.violations.append("200 without a transaction")
            return
        await self.check_paid(signed, told.body["transaction"])


def bearer(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """The header of the token that an answer has; empty if it has none."""
    token = answer.get("accessToken")
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _bought(told: Told) -> str:
    """The lease or the image that a payment was answered with."""
    return str(told.body.get("leaseId") or told.body["imageId"])


def _word(address: str) -> str:
    return "0x" + abi.address_word(address)
