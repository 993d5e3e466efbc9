"""A hook for a conftest.py: tests run with the recursion limit that a server has.

    from tests.support.recursion import pytest_runtest_setup  # noqa: F401

py_ecc, which the x402 SDK's signers load and servers do not, lets Python recurse a hundred
times deeper, and deeply nested JSON then ends the process instead of raising RecursionError.
"""

import sys

RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_runtest_setup() -> None:
    """Keep the limit."""
    sys.setrecursionlimit(RECURSION_LIMIT)
