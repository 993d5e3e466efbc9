"""A chain without a socket: everything here calls it in process."""

from __future__ import annotations

import pytest
from tests.support.token import ContractCaller

from pve402_devnet.chain import SimulatedChain


@pytest.fixture
def quiet_chain() -> SimulatedChain:
    """A chain that does not listen."""
    return SimulatedChain()


@pytest.fixture
def token(quiet_chain: SimulatedChain) -> ContractCaller:
    """USDC on that chain."""
    return ContractCaller(chain=quiet_chain)
