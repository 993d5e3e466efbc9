"""A real node, and the devnet's own services."""

from tests.support.anvil import anvil  # noqa: F401
from tests.support.chain import chain, facilitator  # noqa: F401
