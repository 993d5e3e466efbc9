"""Tenants who have containers copied: forks, and private images that others are leased from."""

import random
from collections.abc import Mapping
from typing import Any

from tests.chaos import buying, payers, payments
from tests.chaos.ledger import Ledger

_MINUTES = (1, 2, 3)
_COUNTS = (1, 1, 2, 3)
MOST_COPIES = max(_COUNTS)
"""At once; servers must allow them."""
KEPT = "kept"
"""The name of the tenants' snapshots."""
_TRIES = 8


class Copier:
    """Copies what one tenant leases."""

    def __init__(
        self, buyer: buying.Buyer, ledger: Ledger, dice: random.Random, wallet: payers.Payer
    ) -> None:
        """Keep the parts; `wallet` is the tenant's key, since no contract may pay for copies."""
        self._buyer = buyer
        self._ledger = ledger
        self._dice = dice
        self._wallet = wallet
        self._images = 0

    async def fork(self, answer: Mapping[str, Any]) -> None:
        """Lease copies of a container, or of a snapshot that it may have; end some at once."""
        count = self._dice.choice(_COUNTS)
        wish: dict[str, Any] = {"runtimeMinutes": self._dice.choice(_MINUTES), "count": count}
        if self._dice.random() < 0.2:
            wish["snapshot"] = KEPT
        path, holder = f"/lease/{answer['leaseId']}/fork", buying.bearer(answer)
        wallet, spoil = self._wallet, self._dice.random() < self._ledger.spoiled_share
        if spoil:
            wallet = payers.new_payer()
            await self._buyer.fund(wallet)
        signed = await self._sign(path, wish, holder, wallet=wallet)
        if signed is None:
            return
        headers = {**signed.header, **holder}
        told = await self._buyer.pay(signed, path, wish, headers, spoil=spoil)
        if told is not None and told.status == 200:
            self._check_copies(signed, told.body, answer["leaseId"], count)
            self._ledger.leases += count
            self._ledger.kept["copies"] += count

    async def save(self, answer: Mapping[str, Any], wish: Mapping[str, Any]) -> None:
        """Save a container as an image, lease another from it, and renew or delete the image."""
        self._images += 1
        asked: dict[str, Any] = {"name": f"i{self._images}", "runtimeMinutes": 3}
        if self._dice.random() < 0.3:
            asked["snapshot"] = KEPT
        path, holder = f"/lease/{answer['leaseId']}/image", buying.bearer(answer)
        signed = await self._sign(path, asked, holder)
        if signed is None:
            return
        told = await self._buyer.buy(signed, path, asked, {**signed.header, **holder})
        if told is None or told.status != 200:
            return
        self._ledger.kept["images"] += 1
        image = told.body
        await self._lease_from(image, wish)
        if self._dice.random() < 0.4:
            await self._renew(image)
        if self._dice.random() < 0.4:
            path = f"/images/private/{image['imageId']}"
            await self._buyer.ask("DELETE", path, None, buying.bearer(image))

    async def _lease_from(self, image: Mapping[str, Any], wish: Mapping[str, Any]) -> None:
        wish = {**wish, "template": image["template"], "diskGB": image["diskGB"]}
        signed = await self._sign("/lease/container", wish, {})
        if signed is None:
            return
        told = await self._buyer.buy(signed, "/lease/container", wish, signed.header)
        if told is not None and told.status == 200:
            self._ledger.leases += 1
            self._ledger.kept["leased from an image"] += 1

    async def _renew(self, image: Mapping[str, Any]) -> None:
        path, holder = f"/images/private/{image['imageId']}/renew", buying.bearer(image)
        wish = {"runtimeMinutes": self._dice.choice(_MINUTES)}
        signed = await self._sign(path, wish, holder, kind="renewal", lease_id=image["imageId"])
        if signed is not None:
            await self._buyer.buy(signed, path, wish, {**signed.header, **holder})

    async def _sign(
        self,
        path: str,
        wish: Mapping[str, Any],
        holder: Mapping[str, str],
        *,
        wallet: payers.Payer | None = None,
        kind: str = "creation",
        lease_id: str | None = None,
    ) -> payments.Signed | None:
        payer = wallet or self._wallet
        return await self._buyer.sign(
            payer, path, wish, kind, lease_id, holder=holder, tries=_TRIES
        )

    def _check_copies(
        self, signed: payments.Signed, told: Mapping[str, Any], source: str, count: int
    ) -> None:
        """See that a fork was answered with as many leases as were paid for."""
        copies = [told, *told["others"]]
        signed.copies = [one["leaseId"] for one in copies]
        if told["forkedFrom"] != source or source in signed.copies:
            signed.violations.append("copies of another container")
        if {len({one[name] for one in copies}) for name in ("leaseId", "ctid")} != {count}:
            signed.violations.append(f"{len(copies)} copies in the place of {count}")
        tokens = {one["accessToken"] for one in copies}
        if told["accessToken"] and (None in tokens or len(tokens) != count):
            signed.violations.append("copies without tokens of their own")
