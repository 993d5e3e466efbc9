"""Tenants: programs that lease, renew, look, end, pay with bad money, and never give up asking.

A tenant knows what it signed and what it was told. Whatever breaks, it sends the same payment
again until it gets a final answer or its patience ends; the audit compares the rest.
"""

import asyncio
import contextlib
import json
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from tests.chaos import keeping, latecomers, payers, payments, stage, switching
from tests.chaos.ledger import Ledger, Told
from tests.support import wallets

from pve402.payments import abi
from pve402.payments.schemes.exact import eip3009

MINUTES = (1, 1, 2, 3, 5, 8)
_PATIENCE_SECONDS = 45.0
_LAST_PATIENCE_SECONDS = 10.0  # when all should come to an end
_WALLET_USDC = 50_000_000
_FINAL = {"provisioning_failed", "payment_owed"}
_AGAIN = {429, 500, 502, 503, 504}


class Tenant:
    """One tenant with a wallet of its own."""

    def __init__(self, where: stage.Stage, ledger: Ledger, number: int) -> None:
        self._stage = where
        self._ledger = ledger
        self._dice = random.Random(number)
        self._wallet = payers.new_payer()

    async def live(self) -> None:
        """Lease after lease, until the ledger says that it is enough."""
        await self._fund(self._wallet, _WALLET_USDC)
        while self._ledger.goes_on():
            await asyncio.sleep(self._dice.uniform(0, self._ledger.pause_seconds))
            await self._one_lease()

    async def _one_lease(self) -> None:
        if self._dice.random() < self._ledger.spoiled_share:
            await self._lease_with_bad_money()
            return
        payer = await self._choose_payer()
        bought = await self._lease(payer)
        if bought is None:
            return
        signed, answer = bought
        if self._dice.random() < 0.25:
            await self._replay(signed, answer)
        if self._dice.random() < 0.3:
            await self._switch(signed, answer)
        if self._dice.random() < 0.5:
            await self._keep(answer)
        if self._dice.random() < 0.6:
            await self._renew(signed, answer)
        if self._dice.random() < 0.2:
            await self._list(signed.payer, answer)
        if self._dice.random() < 0.35:
            await self._end(answer)

    # Buying

    async def _choose_payer(self) -> payers.Payer:
        """The own key, or a contract wallet made for this lease."""
        if self._dice.random() >= self._ledger.contract_share:
            return self._wallet
        return await self._new_contract()

    async def _new_contract(self) -> payers.Payer:
        made = await payers.new_contract(self._stage, self._dice)
        await self._fund(made, _WALLET_USDC)
        return made

    async def _lease(self, payer: payers.Payer) -> tuple[payments.Signed, dict[str, Any]] | None:
        minutes = self._dice.choice(MINUTES)
        signed = await self._sign(payer, "/lease/container", _wish(minutes), "creation")
        if signed is None:
            return None
        headers = dict(signed.header)
        if self._dice.random() < 0.4:
            headers["Idempotency-Key"] = secrets.token_hex(16)
        if self._dice.random() < 0.2:
            headers["Prefer"] = "respond-async"
        twice = self._dice.random() < 0.15
        told = await self._buy(signed, "/lease/container", _wish(minutes), headers, twice=twice)
        if told is not None and told.code == "provisioning_failed" and not payer.kind.has_code:
            await self._pay_late(signed, _wish(minutes))
        if told is None or told.status != 200:
            return None
        self._ledger.leases += 1
        return signed, told.body

    async def _lease_with_bad_money(self) -> None:
        wallet = payers.new_payer()
        minutes = self._dice.choice(MINUTES)
        await self._fund(wallet, _WALLET_USDC)
        signed = await self._sign(wallet, "/lease/container", _wish(minutes), "creation")
        if signed is not None:
            await self._spoil(signed, "/lease/container", _wish(minutes), signed.header)

    async def _renew(self, first: payments.Signed, answer: Mapping[str, Any]) -> None:
        """Renew at once, or when the lease may be in its grace."""
        if self._dice.random() < 0.35:
            await asyncio.sleep(self._dice.uniform(2, 8))
        path = f"/lease/{answer['leaseId']}/renew"
        minutes = self._dice.choice(MINUTES)
        token = answer.get("accessToken")
        spoil = token is not None and self._dice.random() < self._ledger.spoiled_share
        wallet = await self._choose_renewer(first.payer) if token is not None else first.payer
        if spoil:
            wallet = payers.new_payer()
            await self._fund(wallet, _WALLET_USDC)
        signed = await self._sign(
            wallet, path, {"runtimeMinutes": minutes}, "renewal", answer["leaseId"]
        )
        if signed is None:
            return
        headers = dict(signed.header)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if spoil:
            await self._spoil(signed, path, {"runtimeMinutes": minutes}, headers)
            return
        twice = self._dice.random() < 0.15
        told = await self._buy(signed, path, {"runtimeMinutes": minutes}, headers, twice=twice)
        if told is not None and told.status == 200:
            self._ledger.renewals += 1

    async def _choose_renewer(self, first: payers.Payer) -> payers.Payer:
        """Whoever paid before, or a contract: with a lease's token anybody may pay."""
        if self._dice.random() >= self._ledger.contract_share:
            return first
        return await self._new_contract()

    async def _switch(self, first: payments.Signed, answer: Mapping[str, Any]) -> None:
        """Stop, start or reboot the guest; a stop may be followed by nothing more."""
        token = answer.get("accessToken")
        if token is None:
            return
        headers = {"Authorization": f"Bearer {token}"}
        switch = switching.Switch(
            post=lambda path: self._ask("POST", path, None, headers),
            dice=self._dice,
            lease_id=answer["leaseId"],
            wishes=self._ledger.wishes,
            violations=first.violations,
        )
        for what in switch.choose():
            await switch.press(what)

    async def _keep(self, answer: Mapping[str, Any]) -> None:
        """Take a snapshot, and perhaps roll back to it or delete it."""
        token = answer.get("accessToken")
        if token is None:
            return
        headers = {"Authorization": f"Bearer {token}"}
        await keeping.Keeper(
            ask=lambda method, path, body: self._ask(method, path, body, headers),
            dice=self._dice,
            lease_id=answer["leaseId"],
            count=lambda what: self._ledger.kept.update([what]),
            asked=self._ledger.asked,
        ).keep()

    async def _spoil(
        self, signed: payments.Signed, path: str, body: Any, headers: Mapping[str, str]
    ) -> None:
        """Send a payment and make it worthless while it is being worked on."""
        how = self._dice.choice(payments.SPOILINGS)
        signed.spoiled = how
        if how == "balance moved":
            await self._empty(signed)
        buying = asyncio.create_task(self._buy(signed, path, body, headers))
        await asyncio.sleep(self._dice.uniform(0.0, 0.25))
        signed.spoiled_in_time = await self._stage.transact(payments.spoiling_call(signed, how))
        await buying
        if how == "balance moved" and signed.kind == "creation":
            await self._pay_late(signed, body)

    async def _pay_late(self, signed: payments.Signed, wish: Mapping[str, Any]) -> None:
        """Have a refused payment submitted by somebody, and redeem what is then owed."""
        late = latecomers.Latecomer(
            where=self._stage,
            ask=self._ask,
            dice=self._dice,
            signed=signed,
            wish=wish,
            give_up_at=min(
                time.monotonic() + _PATIENCE_SECONDS,
                self._ledger.ends_at() + _LAST_PATIENCE_SECONDS,
            ),
        )
        if await late.pay_late():
            self._ledger.count("paid after the refusal")
            if await late.redeem():
                self._ledger.count("redeemed")

    async def _empty(self, signed: payments.Signed) -> None:
        """Leave the wallet just what the payment is worth, so that one transfer empties it."""
        surplus = _WALLET_USDC - signed.payment.amount_atomic
        rest = payments.sign(signed.payer, surplus, kind="rest")
        await self._stage.transact(payments.spoiling_call(rest, "balance moved"))

    async def _buy(
        self,
        signed: payments.Signed,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        *,
        twice: bool = False,
    ) -> Told | None:
        asks = [self._until_answered(signed, "POST", path, body, headers)]
        if twice:
            asks.append(self._until_answered(signed, "POST", path, body, headers))
        answers = [told for told in await asyncio.gather(*asks) if told is not None]
        good = [told for told in answers if told.status == 200]
        for told in good:
            await self._check_bought(signed, told)
        if len({told.body["leaseId"] for told in good}) > 1:
            signed.violations.append("one payment was answered with two leases")
        with_token = [told for told in good if told.body.get("accessToken")]
        return next(iter([*with_token, *good, *answers]), None)

    async def _replay(self, signed: payments.Signed, answer: Mapping[str, Any]) -> None:
        """Send a used payment again: the same facts and no secret; for something else nothing."""
        wish = _wish(signed.minutes)
        told = await self._until_answered(signed, "POST", "/lease/container", wish, signed.header)
        if told is not None and told.status == 200:
            if told.body["leaseId"] != answer["leaseId"]:
                signed.violations.append("a replay was answered with another lease")
            if told.body.get("accessToken"):
                signed.violations.append("a replay was answered with a token")
        other = {**wish, "hostname": "other"}
        told = await self._until_answered(signed, "POST", "/lease/container", other, signed.header)
        if told is not None and told.status not in {409, 429}:
            signed.violations.append(f"a payment for something else was answered {told.status}")

    async def _list(self, payer: payers.Payer, answer: Mapping[str, Any]) -> None:
        """List by paying the fee, as the first clients do."""
        signed = await self._sign(payer, "/management/list", None, "fee")
        if signed is None:
            return
        told = await self._until_answered(
            signed, "GET", "/management/list?all=true", None, signed.header
        )
        if told is None or told.status != 200:
            return
        await self._check_paid(signed, _receipt(told)["transaction"])
        if answer["leaseId"] not in {item["leaseId"] for item in told.body}:
            signed.violations.append("a lease is missing in its owner's list")

    async def _end(self, answer: Mapping[str, Any]) -> None:
        token = answer.get("accessToken")
        if token is None:
            return
        headers = {"Authorization": f"Bearer {token}"}
        for _ in range(20):
            told = await self._ask("DELETE", f"/lease/{answer['leaseId']}", None, headers)
            if told is not None and told.status in {202, 401, 404}:
                return
            await asyncio.sleep(0.3)

    # Checking what was told

    async def _check_bought(self, signed: payments.Signed, told: Told) -> None:
        if told.body["status"] == "provisioning":
            signed.violations.append("200 for a lease that is not there yet")
            return
        if signed.lease_id not in {None, told.body["leaseId"]}:
            signed.violations.append("a payment was answered with another lease")
        signed.lease_id = told.body["leaseId"]
        if not told.body.get("transaction"):
            signed.violations.append("200 without a transaction")
            return
        await self._check_paid(signed, told.body["transaction"])

    async def _check_paid(self, signed: payments.Signed, transaction: str) -> None:
        """See that the money was there when the answer came."""
        if self._ledger.blocks_vanish:
            return
        topics = [eip3009.AUTHORIZATION_USED, _word(signed.payment.payer), signed.nonce]
        receipt = await self._stage.rpc("eth_getTransactionReceipt", transaction)
        if receipt is None or all(log["topics"] != topics for log in receipt["logs"]):
            signed.violations.append("200 without a transfer on the chain")

    # Asking

    async def _until_answered(
        self,
        signed: payments.Signed,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str],
    ) -> Told | None:
        """Ask until there is a final answer; None if there is none in a while."""
        give_up_at = min(
            time.monotonic() + _PATIENCE_SECONDS, self._ledger.ends_at() + _LAST_PATIENCE_SECONDS
        )
        while time.monotonic() < give_up_at:
            told = await self._ask(method, path, body, headers)
            if told is not None:
                signed.told.append((told.status, told.code))
                self._ledger.count(f"{told.status} {told.code}".strip())
            final = told is not None and told.status not in _AGAIN | {202}
            if final or (told is not None and told.code in _FINAL):
                return told
            await asyncio.sleep(self._dice.uniform(0.1, 0.6))
        return None

    async def _ask(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> Told | None:
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

    async def _sign(
        self, payer: payers.Payer, path: str, body: Any, kind: str, lease_id: str | None = None
    ) -> payments.Signed | None:
        """Ask for the price and sign what it says; None if it is not sold now."""
        told = await self._price(path, body)
        if told is None:
            return None
        amount = int(told.body["accepts"][0]["maxAmountRequired"])
        minutes = (body or {}).get("runtimeMinutes", 0)
        version = self._dice.choice((1, 2))
        signed = payments.sign(
            payer, amount, version, kind=kind, minutes=minutes, lease_id=lease_id
        )
        if not payer.kind.has_code and self._dice.random() < 0.05:
            terms = wallets.Terms(headers=told.headers, body=json.dumps(told.body).encode())
            payments.sign_officially(signed, terms, version)
        self._ledger.signed.append(signed)
        return signed

    async def _price(self, path: str, body: Any) -> Told | None:
        for _ in range(40):
            told = await self._ask("GET" if body is None else "POST", path, body, {})
            if told is not None and told.status == 402:
                return told
            if told is not None and told.status in {404, 409}:
                return None
            await asyncio.sleep(0.2)
        return None

    async def _fund(self, wallet: payers.Payer, amount_atomic: int) -> None:
        await self._stage.rpc("devnet_mintUsdc", wallet.address, hex(amount_atomic))


def _receipt(told: Told) -> Any:
    """What the answer's receipt says, in either wire version."""
    names = ("payment-response", "x-payment-response")
    found = {name.lower(): value for name, value in told.headers.items()}
    return wallets.decoded(next(found[name] for name in names if name in found))


def _wish(minutes: int) -> dict[str, Any]:
    return {
        "sku": "standard-lxc",
        "runtimeMinutes": minutes,
        "hostname": "chaos",
        "cores": 1,
        "memoryMB": 128,
        "diskGB": 1,
        "password": "correct horse",
    }


def _word(address: str) -> str:
    return "0x" + abi.address_word(address)
