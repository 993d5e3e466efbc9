"""Fixtures of the lease tests: one installation in this process, on either database."""

import pytest
from tests.support.chain import chain, facilitator
from tests.support.installation import database_url, installation, proxmox, world
from tests.support.oci import oci_world

from pve402.leases import warm_guests

__all__ = ["chain", "database_url", "facilitator", "installation", "oci_world", "proxmox", "world"]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No warm guest is taken for broken because the machine is busy."""
    monkeypatch.setattr(warm_guests, "PATIENCE_SECONDS", 60.0)
