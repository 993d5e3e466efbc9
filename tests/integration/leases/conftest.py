"""Fixtures of the lease tests: one installation in this process."""

from tests.support.chain import chain, facilitator
from tests.support.installation import installation, proxmox

__all__ = ["chain", "facilitator", "installation", "proxmox"]
