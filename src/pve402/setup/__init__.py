"""`pve402 setup`: what must be there on Proxmox VE, and the files that the service reads."""
