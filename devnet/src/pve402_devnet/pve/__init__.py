"""A simulated Proxmox VE: its REST API on loopback, with guests, tasks, rights and faults."""

from pve402_devnet.pve.options import (
    AccessOptions,
    AclOptions,
    Latencies,
    NodeOptions,
    Progress,
    SimulatorOptions,
    StorageOptions,
    TemplateOptions,
    TokenOptions,
)
from pve402_devnet.pve.simulator import SimulatedProxmox

__all__ = [
    "AccessOptions",
    "AclOptions",
    "Latencies",
    "NodeOptions",
    "Progress",
    "SimulatedProxmox",
    "SimulatorOptions",
    "StorageOptions",
    "TemplateOptions",
    "TokenOptions",
]
