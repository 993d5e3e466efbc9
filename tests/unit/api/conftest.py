"""Fixtures of the HTTP layer."""

import pytest
import structlog
from tests.support.api_fixtures import api

__all__ = ["api"]


@pytest.fixture(autouse=True)
def plain_tracebacks():
    """Spare the seconds that structlog's usual tracebacks take."""
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.configure(**before)
