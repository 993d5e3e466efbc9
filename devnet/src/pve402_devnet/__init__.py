"""A Proxmox, an EVM chain and a facilitator on one machine; shares only the wire with the rest."""
