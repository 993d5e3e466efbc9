"""Fixtures of the lease tests: one installation in this process, on either database."""

from tests.support.chain import chain, facilitator
from tests.support.installation import database_url, installation, proxmox

__all__ = ["chain", "database_url", "facilitator", "installation", "proxmox"]
