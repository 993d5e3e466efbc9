"""What every test may ask for; helpers with more to them live in tests/support."""

from tests.support.recursion import pytest_runtest_setup  # noqa: F401

pytest_plugins = ["tests.support.postgres"]
