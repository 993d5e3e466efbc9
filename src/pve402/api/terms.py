"""Finds the price that a request's payment answers: today's, or one that still holds.

Another replica may have asked for a price that this one has not read yet, so an unknown price makes
us look for a newer catalogue before we refuse it.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

from starlette.requests import Request

from pve402.api import context, gate
from pve402.leases import service

Pricing = Callable[[], Sequence[Fraction]]


async def judge(
    request: Request, pricing: Pricing, put: Callable[[Fraction], gate.Priced]
) -> tuple[gate.Priced, service.Purchase]:
    """Return today's price and what the request's payment can buy.

    `pricing` computes the prices in USD, today's first; `put` makes terms of one. Raises what
    `Gate.judge` raises.
    """
    app = context.of(request)
    prices = [put(usd) for usd in pricing()]
    purchase = app.gate.judge(request, prices)
    if purchase.is_of_another_price and await app.leases.prices.look():
        prices = [put(usd) for usd in pricing()]
        purchase = app.gate.judge(request, prices)
    return prices[0], purchase
