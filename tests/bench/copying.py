"""What a tenant does that is paid or makes guests: forks, private images, reinstallations."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from typing import Self

import pytest
from eth_account.signers.local import LocalAccount
from tests.chaos import payers, stage
from tests.support import payments as signing
from tests.support import rekeying

from pve402 import bootstrap
from pve402.domain import lease, price, private_images, reinstalls, request
from pve402.leases import purchases
from pve402.leases.images import saving_orders
from pve402.storage import lease_rows

COPIES = 10
SETTINGS = {"PVE402_FORKS": str(COPIES), "PVE402_MAX_UNSETTLED_PER_WALLET": "100"}
RATE = 'image_gb_usd_minute = "0.000004"'
_MINUTES = 60
_GONE_SECONDS = 120.0


@contextlib.contextmanager
def without_shells() -> Iterator[None]:
    """Have copies re-keyed in no time, as no shell runs, and reinstalled without a rest."""
    with rekeying.installed(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(reinstalls, "REST", timedelta(0))
        yield


@dataclasses.dataclass(kw_only=True)
class Tenant:
    """A rich wallet, and what it has had made that is not ended yet."""

    parts: bootstrap.Components
    key: LocalAccount
    made: list[lease.Lease] = dataclasses.field(default_factory=list)
    images: list[lease.Lease] = dataclasses.field(default_factory=list)

    @classmethod
    async def rich(cls, parts: bootstrap.Components, where: stage.Stage) -> Self:
        """Give a new wallet money."""
        key = payers.new_payer().key
        await where.rpc("devnet_mintUsdc", key.address, hex(10**12))
        return cls(parts=parts, key=key)

    async def buy(self, wish: request.CreationRequest) -> lease.Lease:
        """Lease a container."""
        usd = self.parts.leases.prices.of_creation(wish)[0]
        return (await self.parts.leases.create(wish, self._pay(usd))).lease

    async def fork(self, row: lease.Lease) -> None:
        """Lease copies of a container."""
        wish = request.CreationRequest(
            sku=row.sku,
            minutes=_MINUTES,
            hostname="copy",
            size=row.size,
            fork_of=row.lease_id,
            others=COPIES - 1,
        )
        paid = self._pay(self.parts.leases.prices.of_creation(wish)[0])
        answer = await self.parts.forks.create(row, wish, paid)
        self.made += [answer.lease, *(one.lease for one in answer.others)]

    async def reinstall(self, row: lease.Lease) -> None:
        """Have a fresh container made in the place of one."""
        wish = reinstalls.Wish(password="correct horse")
        await self.parts.leases.reinstalls.check(row, wish)
        await self.parts.leases.reinstalls.reinstall(row, wish)

    async def save(self, row: lease.Lease) -> None:
        """Save a container, which is down, as a private image."""
        wish = saving_orders.SaveRequest(lease_id=row.lease_id, name="bench", minutes=_MINUTES)
        usd = self.parts.private_images.prices_of_saving(row, _MINUTES)[0]
        answer = await self.parts.private_images.save(row, wish, self._pay(usd), None)
        self.images.append(answer.lease)

    async def lease_from_image(self, row: lease.Lease) -> None:
        """Lease a container from the image that was saved."""
        template = private_images.template_of(self.images[-1].lease_id)
        wish = request.CreationRequest(
            sku=row.sku,
            minutes=_MINUTES,
            hostname="bench",
            size=row.size,
            password="correct horse",
            template=template,
        )
        self.made.append(await self.buy(wish))

    async def end_all(self) -> None:
        """End what was made, and wait until it is gone."""
        for row in (*self.made, *self.images):
            await self.parts.leases.end(row)
        async with asyncio.timeout(_GONE_SECONDS):
            await asyncio.gather(*map(self._until_gone, (*self.made, *self.images)))
        self.made, self.images = [], []

    async def _until_gone(self, row: lease.Lease) -> None:
        while True:
            async with self.parts.db.read() as tx:
                now = await lease_rows.get(tx, row.lease_id)
            if now is None or now.status in lease.OVER:
                return
            await asyncio.sleep(0.1)

    def _pay(self, usd: Fraction) -> purchases.Purchase:
        terms = signing.requirements(
            amount_atomic=price.atomic_units(usd, 6),
            pay_to=stage.PAY_TO,
            network=stage.NETWORK,
            max_timeout_seconds=600,
        )
        until = int(time.time()) + 600
        payment = signing.payment(key=self.key, terms=terms, valid_before=until)
        return purchases.Purchase(payment=payment, requirements=terms)
