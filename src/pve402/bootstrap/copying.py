"""Builds what sells copies of containers: forks and private images."""

from collections.abc import Sequence

from pve402.leases import fork_admission, forks, machine, service
from pve402.leases.images import private_images, saving_orders
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import snapshots as pve_snapshots


def forks_of(
    parts: service.Parts,
    machines: machine.Machines,
    guests: pve_guests.Guests,
    on_proxmox: pve_snapshots.GuestSnapshots,
    leases: service.LeaseService,
) -> forks.Forks:
    """Return what sells forks."""
    accepting = fork_admission.ForkAdmission(parts.db, parts.settings, parts.admissions)
    return forks.Forks(parts, accepting, machines, guests, on_proxmox, leases)


def private_images_of(
    parts: service.Parts,
    guests: pve_guests.Guests,
    leases: service.LeaseService,
    networks: Sequence[str],
) -> private_images.PrivateImages:
    """Return what sells private images."""
    orders = saving_orders.SavingOrders(parts.db, parts.admissions, parts.settings, networks)
    return private_images.PrivateImages(parts, leases, orders, guests)
