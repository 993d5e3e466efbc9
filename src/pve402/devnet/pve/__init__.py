"""A simulated Proxmox VE: its REST API on loopback, with guests, tasks, rights and faults."""
