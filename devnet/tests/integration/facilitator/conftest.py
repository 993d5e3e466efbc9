"""A chain and a facilitator, and a real node to put the facilitator on."""

from tests.support.anvil import anvil  # noqa: F401
from tests.support.chain import chain, facilitator  # noqa: F401
