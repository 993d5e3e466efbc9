"""The smallest shop that takes x402: one route, priced, verified, settled, receipted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from tests.support import stand_ins

from pve402.payments import errors, judgement, protocol, settlement
from pve402.payments.facilitators import Outcome
from pve402.payments.schemes.base import Limits

LIMITS = Limits(min_remaining_seconds=30)


class Shop:
    """Sells the same thing to everybody, and remembers who paid by which version."""

    def __init__(
        self, settler: settlement.Settler, offers: Sequence[protocol.Requirements]
    ) -> None:
        self._settler = settler
        self._offers = offers
        self.sold: list[protocol.Payment] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        now = int(time.time())
        try:
            judged = judgement.judge(self._offers, request.headers, now_seconds=now, limits=LIMITS)
        except errors.PaymentRejected as rejection:
            made = protocol.payment_required(self._offers, error=rejection.detail)
            return web.Response(status=made.status, headers=dict(made.headers), body=made.body)
        payment = judged.payment
        verified = await self._settler.verify(payment, judged.requirements)
        settled = await self._settler.settle(payment, judged.requirements, since_seconds=now)
        success = verified.valid and settled.outcome is Outcome.SETTLED
        name, value = protocol.receipt_header(
            payment.version,
            success=success,
            network=payment.network,
            payer=payment.payer,
            transaction=settled.transaction or "",
            reason=settled.reason,
        )
        if success:
            self.sold.append(payment)
        return web.json_response({"sold": success}, headers={name: value})


@asynccontextmanager
async def running(
    settler: settlement.Settler, offers: Sequence[protocol.Requirements]
) -> AsyncIterator[Shop]:
    """A shop on a free loopback port."""
    shop = Shop(settler, offers)
    async with stand_ins.answering(shop.handle) as url:
        shop.url = f"{url}/thing"
        yield shop
