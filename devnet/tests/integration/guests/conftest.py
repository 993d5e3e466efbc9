"""Guests with real shells, for every test of this folder."""

from devnet.tests.support.guests import runtime  # noqa: F401
