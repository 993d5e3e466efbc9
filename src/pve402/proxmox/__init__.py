"""Proxmox VE: REST client, tasks, guests, nodes, terminal frames. Knows nothing about leases."""
