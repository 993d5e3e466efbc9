"""What every test of the devnet may ask for."""

from tests.support.recursion import pytest_runtest_setup  # noqa: F401
