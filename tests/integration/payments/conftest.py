"""A chain, a facilitator on it, and what settles payments with them."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support import payments as make
from tests.support.anvil import anvil  # noqa: F401
from tests.support.chain import chain, facilitator, funded_account  # noqa: F401

from pve402.payments import chain as chains
from pve402.payments import protocol, rpc, settlement
from pve402.payments.facilitators.http import HttpFacilitator, HttpFacilitatorOptions
from pve402_devnet.chain import SimulatedChain


@pytest.fixture
async def endpoint(chain: SimulatedChain) -> AsyncIterator[rpc.Rpc]:  # noqa: F811
    """JSON-RPC to the chain."""
    async with rpc.Rpc(rpc.RpcOptions(url=chain.url)) as opened:
        yield opened


@pytest.fixture
def paid(chain: SimulatedChain) -> Callable[..., protocol.Payment]:  # noqa: F811
    """Makes payments of a fresh tenant who has the money."""

    def sign(**changes: Any) -> protocol.Payment:
        key = changes.pop("key", None) or funded_account(chain)
        return make.payment(key=key, **{"valid_before": int(time.time()) + 300} | changes)

    return sign


@pytest.fixture
async def settler(
    request: pytest.FixtureRequest,
    chain: SimulatedChain,  # noqa: F811
    facilitator: Any,  # noqa: F811
    endpoint: rpc.Rpc,
) -> AsyncIterator[settlement.Settler]:
    """Settles through the facilitator over HTTP, believes the chain.

    One that a test has fall silent is waited for shortly, others as long as on a busy machine.
    """
    seconds = 2 if "silent" in request.node.name.lower() else 15
    options = HttpFacilitatorOptions(
        url=facilitator.url, verify_timeout_seconds=seconds, settle_timeout_seconds=seconds
    )
    route = settlement.Route(facilitator=HttpFacilitator(options), chain=chains.Chain(endpoint))
    patience = settlement.Patience(visible_within_seconds=0.2)
    made = settlement.Settler({"eip155:84532": route}, patience=patience)
    yield made
    await made.close()
