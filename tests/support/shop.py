"""A whole installation in this process that is bought from over its HTTP interface.

Facilitators are waited for for a second only, and time passes at a word, so that what a bad one
does to a lease is seen from beginning to end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support import asgi, installation, migrated, rekeying, wallets
from tests.support.api_fixtures import BODY

from pve402 import bootstrap
from pve402.api import app as application
from pve402.domain import lease, order
from pve402.payments import settlement
from pve402.payments.facilitators import http
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator

PRICE_ATOMIC = 21_800
OVER = frozenset({order.OrderStatus.SETTLED, order.OrderStatus.REFUSED})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Balance:
    """What each side has in the end."""

    order: order.OrderStatus | None
    lease: lease.LeaseStatus | None
    paid: int
    earned: int
    guests: int

    @property
    def nobody_lost(self) -> bool:
        """A lease for its price, or nothing for nothing."""
        sold = (order.OrderStatus.SETTLED, lease.LeaseStatus.ACTIVE, PRICE_ATOMIC, 1)
        kept = (order.OrderStatus.REFUSED, lease.LeaseStatus.FAILED, 0, 0)
        found = (self.order, self.lease, self.paid, self.guests)
        untouched = (None, None, 0, 0)
        return self.paid == self.earned and found in (sold, kept, untouched)


@dataclasses.dataclass(kw_only=True)
class Shop:
    """A running service and one tenant with two dollars."""

    inside: installation.Installation
    http: asgi.Asgi
    tenant: LocalAccount

    async def sign(self) -> dict[str, str]:
        """Ask for a lease and sign what it costs."""
        asked = await self.http.post("/lease/container", BODY)
        return wallets.payment_headers(self.tenant, asked)

    async def pay(self, signed: dict[str, str]) -> asgi.Reply:
        """Send a signed payment."""
        return await self.http.post("/lease/container", BODY, headers=signed)

    async def balance(self) -> Balance:
        """Read the rows, the chain and Proxmox VE."""
        orders, leases = await self.inside.orders_now(), await self.inside.leases_now()
        return Balance(
            order=orders[-1].status if orders else None,
            lease=leases[-1].status if leases else None,
            paid=2_000_000 - self.inside.chain.usdc_balance(self.tenant.address),
            earned=self.inside.earned,
            guests=len(self.inside.marked_guests),
        )

    async def until_over(self, *, seconds_a_look: float = 5, most_looks: int = 200) -> Balance:
        """Let time pass until the order is settled or refused, and all that follows is done."""
        for _ in range(most_looks):
            await self.inside.settled_down()
            orders = await self.inside.orders_now()
            if not orders or orders[-1].status in OVER:
                return await self.balance()
            self.inside.pass_time(seconds_a_look)
        raise TimeoutError(f"the order is still {orders[-1].status}")

    def pass_the_window(self) -> None:
        """Let the time go by within which a payment can be settled."""
        self.inside.chain.rpc("evm_increaseTime", 700)
        for _ in range(4):
            self.inside.chain.rpc("evm_mine")
        self.inside.pass_time(700)


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    *,
    patience_seconds: float = 20,
    **changes: Any,
) -> AsyncIterator[Shop]:
    """Open a shop with a database of its own, which waits so long for the facilitator's answers."""
    async with installation.simulated_proxmox() as proxmox:
        settings = installation.settings(
            migrated.lay_sqlite(f"sqlite:///{folder}/pve402.sqlite3"),
            proxmox,
            chain,
            facilitator,
            **{"pve402_create_wait_seconds": 20, **changes},
        )
        with _hurried(patience_seconds), rekeying.installed() as fake:
            parts = bootstrap.build(settings)
        app = application.create_app(parts)
        async with asgi.running(app) as client:
            inside = installation.Installation(
                parts=parts,
                proxmox=proxmox,
                chain=chain,
                facilitator=facilitator,
                rekey=fake,
            )
            yield Shop(inside=inside, http=client, tenant=inside.tenant(2_000_000))


@contextlib.contextmanager
def _hurried(patience_seconds: float) -> Iterator[None]:
    """Wait for facilitators for so long, and for a transfer that one claims, half a second."""
    limits = dict.fromkeys(("verify_timeout_seconds", "settle_timeout_seconds"), patience_seconds)
    with pytest.MonkeyPatch.context() as patch:
        patience = functools.partial(settlement.Patience, visible_within_seconds=0.5)
        patch.setattr(settlement, "Patience", patience)
        impatient = functools.partial(http.HttpFacilitatorOptions, **limits)
        patch.setattr(http, "HttpFacilitatorOptions", impatient)
        yield
