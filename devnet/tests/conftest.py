"""What every test of the devnet may ask for."""

from hypothesis import settings
from tests.support.recursion import pytest_runtest_setup  # noqa: F401

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
