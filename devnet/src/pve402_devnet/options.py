"""The options of a devnet."""

from __future__ import annotations

from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class DevnetOptions:
    """Ports (0 takes a free one), manners of the Proxmox part, and who gets money.

    `latency_scale` multiplies the times that were measured on a real Proxmox VE; 0 takes none.
    `old_proxmox` refuses API tokens on consoles, as before pve-container 6.1.3. `exec_api` offers
    the exec call that stock Proxmox VE lacks. `unsafe_shells` runs guests without
    isolation where the machine refuses namespaces. `guest_root` is a folder with the root
    whose programs guests run; empty for this machine's. `network` gives guests network cards, whose
    packets the firewall filters, and `uplinks` are ports of 203.0.113.9 at which they reach those
    of this machine's loopback.
    """

    pve_port: int = 0
    chain_port: int = 0
    facilitator_port: int = 0
    latency_scale: float = 1.0
    unsafe_shells: bool = False
    guest_root: str = ""
    network: bool = False
    uplinks: tuple[int, ...] = ()
    old_proxmox: bool = False
    exec_api: bool = False
    fund: tuple[str, ...] = ()
    block_interval_seconds: float = 2.0
