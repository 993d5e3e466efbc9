"""Proxmox VE, an EVM chain and a facilitator on one machine; shares no code with the service."""
