"""What every test may ask for; helpers with more to them live in tests/support."""

import sys

pytest_plugins = ["tests.support.postgres"]

RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_runtest_setup() -> None:
    """Keep the limit that a server has.

    py_ecc, which the x402 SDK's signers load and the server does not, lets Python recurse a hundred
    times deeper, and deeply nested JSON then ends the process instead of raising RecursionError.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)
