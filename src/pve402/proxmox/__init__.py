"""Words of Proxmox VE: REST client, tasks, guests, nodes, terminal frames. Knows no lease."""
