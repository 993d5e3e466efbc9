"""Fixtures of the HTTP layer."""

from tests.support.api_fixtures import api

__all__ = ["api"]
