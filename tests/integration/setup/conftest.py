"""An empty Proxmox VE, and the chain and facilitator of an installation."""

from tests.support.chain import chain, facilitator
from tests.support.installation import proxmox

__all__ = ["chain", "facilitator", "proxmox"]
