"""pve402 rents out Proxmox VE containers by the minute, paid over HTTP with x402."""

__version__ = "0.1.0"
