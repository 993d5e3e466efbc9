"""Tenants: programs that lease, renew, look, end, pay with bad money, and never give up asking.

A tenant knows what it signed and what it was told; the audit compares the rest.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any

from tests.chaos import (
    buying,
    copying,
    keeping,
    latecomers,
    nursery,
    payers,
    payments,
    stage,
    switching,
)
from tests.chaos.ledger import Ledger, Told
from tests.support import wallets

MINUTES = (1, 2, 3, 5, 8, 8)


class Tenant:
    """One tenant with a wallet of its own."""

    def __init__(self, where: stage.Stage, ledger: Ledger, number: int) -> None:
        self._stage = where
        self._ledger = ledger
        self._dice = random.Random(number)
        self._wallet = payers.new_payer()
        self._buyer = buying.Buyer(where, ledger, self._dice)
        self._copier = copying.Copier(self._buyer, ledger, self._dice, self._wallet)

    async def live(self) -> None:
        """Lease after lease, until the ledger says that it is enough."""
        await self._buyer.fund(self._wallet)
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
        things = [
            (0.25, self._replay),
            (0.3, self._switch),
            (0.5, self._keep),
            (0.4, self._fork),
            (0.15, self._save),
            (0.6, self._renew),
            (0.2, self._list),
        ]
        self._dice.shuffle(things)
        for share, do in (*things, (0.35, self._end)):
            if self._dice.random() < share and not self._ledger.is_time_over():
                await do(*bought)

    async def _choose_payer(self) -> payers.Payer:
        """The own key, or a contract wallet made for this lease."""
        if self._dice.random() >= self._ledger.contract_share:
            return self._wallet
        return await self._new_contract()

    async def _new_contract(self) -> payers.Payer:
        made = await payers.new_contract(self._stage, self._dice)
        await self._buyer.fund(made)
        return made

    async def _lease(self, payer: payers.Payer) -> tuple[payments.Signed, dict[str, Any]] | None:
        wish = self._choose_wish()
        signed = await self._buyer.sign(payer, "/lease/container", wish, "creation")
        if signed is None and wish["sku"] == stage.OCI_SKU:  # its image is not tried yet
            wish = _wish(wish["runtimeMinutes"])
            signed = await self._buyer.sign(payer, "/lease/container", wish, "creation")
        if signed is None:
            return None
        headers = dict(signed.header)
        if self._dice.random() < 0.4:
            headers["Idempotency-Key"] = secrets.token_hex(16)
        if self._dice.random() < 0.2:
            headers["Prefer"] = "respond-async"
        told = await self._buyer.pay(signed, "/lease/container", wish, headers, spoil=False)
        if told is not None and told.code == "provisioning_failed" and not payer.kind.has_code:
            await self._pay_late(signed, wish)
        if told is None or told.status != 200:
            return None
        self._ledger.leases += 1
        return signed, told.body

    def _choose_wish(self) -> dict[str, Any]:
        """What to lease; some of an OCI image, some that pause by themselves once they are idle."""
        wish, dice = _wish(self._dice.choice(MINUTES)), self._dice.random()
        if dice < 0.1:
            return {**wish, "sku": stage.OCI_SKU}
        return {**wish, "idlePauseMinutes": nursery.IDLE_MINUTES} if dice < 0.3 else wish

    async def _lease_with_bad_money(self) -> None:
        wallet = payers.new_payer()
        wish = _wish(self._dice.choice(MINUTES))
        await self._buyer.fund(wallet)
        signed = await self._buyer.sign(wallet, "/lease/container", wish, "creation")
        if signed is None:
            return
        await self._buyer.spoil(signed, "/lease/container", wish, signed.header)
        if signed.spoiled == "balance moved":
            await self._pay_late(signed, wish)

    async def _renew(self, first: payments.Signed, answer: Mapping[str, Any]) -> None:
        """Renew at once, or when the lease may be in its grace."""
        if self._dice.random() < 0.35:
            await asyncio.sleep(self._dice.uniform(2, 8))
        path = f"/lease/{answer['leaseId']}/renew"
        wish = {"runtimeMinutes": self._dice.choice(MINUTES)}
        token = buying.bearer(answer)
        spoil = bool(token) and self._dice.random() < self._ledger.spoiled_share
        wallet = await self._choose_renewer(first.payer) if token else first.payer
        if spoil:
            wallet = payers.new_payer()
            await self._buyer.fund(wallet)
        signed = await self._buyer.sign(wallet, path, wish, "renewal", answer["leaseId"])
        if signed is None:
            return
        headers = {**signed.header, **token}
        told = await self._buyer.pay(signed, path, wish, headers, spoil=spoil)
        if told is not None and told.status == 200:
            self._ledger.renewals += 1

    async def _choose_renewer(self, first: payers.Payer) -> payers.Payer:
        """Whoever paid before, or a contract: with a lease's token anybody may pay."""
        if self._dice.random() >= self._ledger.contract_share:
            return first
        return await self._new_contract()

    async def _switch(self, first: payments.Signed, answer: Mapping[str, Any]) -> None:
        """Stop, start or reboot the guest; a stop may be followed by nothing more."""
        if not buying.bearer(answer):
            return
        switch = self._switch_of(first, answer)
        for what in switch.choose():
            await switch.press(what)

    def _switch_of(self, first: payments.Signed, answer: Mapping[str, Any]) -> switching.Switch:
        token = buying.bearer(answer)
        return switching.Switch(
            post=lambda path: self._buyer.ask("POST", path, None, token),
            dice=self._dice,
            lease_id=answer["leaseId"],
            wishes=self._ledger.wishes,
            violations=first.violations,
        )

    async def _fork(self, _first: payments.Signed, answer: Mapping[str, Any]) -> None:
        if buying.bearer(answer):
            await self._copier.fork(answer)

    async def _save(self, first: payments.Signed, answer: Mapping[str, Any]) -> None:
        """Have the guest saved as an image while it is down, and start it again."""
        if not buying.bearer(answer):
            return
        switch = self._switch_of(first, answer)
        await switch.press("stop")
        await self._copier.save(answer, _wish(self._dice.choice(MINUTES)))
        await switch.press("start")

    async def _keep(self, _first: payments.Signed, answer: Mapping[str, Any]) -> None:
        """Take a snapshot, roll back to it or delete it; change the size; reinstall."""
        token = buying.bearer(answer)
        if not token:
            return
        await keeping.Keeper(
            ask=lambda method, path, body: self._buyer.ask(method, path, body, token),
            dice=self._dice,
            lease_id=answer["leaseId"],
            count=lambda what: self._ledger.kept.update([what]),
            asked=self._ledger.asked,
        ).keep()

    async def _pay_late(self, signed: payments.Signed, wish: Mapping[str, Any]) -> None:
        """Have a refused payment submitted by somebody, and redeem what is then owed."""
        late = latecomers.Latecomer(
            where=self._stage,
            ask=self._buyer.ask,
            dice=self._dice,
            signed=signed,
            wish=wish,
            give_up_at=min(
                time.monotonic() + buying.PATIENCE_SECONDS,
                self._ledger.ends_at() + buying.LAST_PATIENCE_SECONDS,
            ),
        )
        if await late.pay_late():
            self._ledger.count("paid after the refusal")
            if await late.redeem():
                self._ledger.count("redeemed")

    async def _replay(self, signed: payments.Signed, answer: Mapping[str, Any]) -> None:
        """Send a used payment again: the same facts and no secret; for something else nothing."""
        wish, path, used = signed.wish, "/lease/container", signed.header
        told = await self._buyer.until_answered(signed, "POST", path, wish, used)
        if told is not None and told.status == 200:
            if told.body["leaseId"] != answer["leaseId"]:
                signed.violations.append("a replay was answered with another lease")
            if told.body.get("accessToken"):
                signed.violations.append("a replay was answered with a token")
        other = {**wish, "hostname": "other"}
        told = await self._buyer.until_answered(signed, "POST", path, other, used)
        if told is not None and told.status not in {409, 429}:
            signed.violations.append(f"a payment for something else was answered {told.status}")

    async def _list(self, first: payments.Signed, answer: Mapping[str, Any]) -> None:
        """List by paying the fee, as the first clients do."""
        signed = await self._buyer.sign(first.payer, "/management/list", None, "fee")
        if signed is None:
            return
        told = await self._buyer.until_answered(
            signed, "GET", "/management/list?all=true", None, signed.header
        )
        if told is None or told.status != 200:
            return
        await self._buyer.check_paid(signed, _receipt(told)["transaction"])
        if answer["leaseId"] not in {item["leaseId"] for item in told.body}:
            signed.violations.append("a lease is missing in its owner's list")

    async def _end(self, _first: payments.Signed, answer: Mapping[str, Any]) -> None:
        token = buying.bearer(answer)
        if not token:
            return
        for _ in range(20):
            told = await self._buyer.ask("DELETE", f"/lease/{answer['leaseId']}", None, token)
            if told is not None and told.status in {202, 401, 404}:
                return
            await asyncio.sleep(0.3)


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
