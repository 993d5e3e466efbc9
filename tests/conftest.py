"""What every test may ask for; helpers with more to them live in tests/support."""

from hypothesis import settings
from tests.support.recursion import pytest_runtest_setup  # noqa: F401

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ["tests.support.postgres"]
