"""Guests with real shells, as a pytest fixture.

Import it into a conftest.py:

    from devnet.tests.support.guests import runtime  # noqa: F401
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec


def spec(template: str = "busybox-alpine", cmode: str = "shell", password: str = "") -> GuestSpec:
    """A guest as most tests want it."""
    return GuestSpec(node="pve", hostname="ct", template=template, cmode=cmode, password=password)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[NamespaceRuntime]:
    """Guests that end with the test."""
    made = NamespaceRuntime(RuntimeOptions(disks=str(tmp_path / "disks")))
    yield made
    await made.close()
