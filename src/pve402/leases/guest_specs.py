"""What a lease's guest is made of: the operator's defaults, the lease's size, its network."""

import dataclasses
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from pve402.domain import catalogue, lease, networks, private_images
from pve402.leases import on_sale
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox.guest_spec import CPU_UNITS_LIMIT

FAMILIES: Mapping[int, str] = {4: "ipv4", 6: "ipv6"}
"""The names of address families in a lease's row and in answers."""

OF_SIZE = frozenset({"cores", "memory", "swap", "cpulimit", "cpuunits"})
"""The options of a guest that follow from its size, but for its disk."""


def spec_of(
    usual: pve_guests.GuestSpec, selling: on_sale.OnSale, row: lease.Lease
) -> pve_guests.GuestSpec:
    """Return the spec of a lease's guest, without its secrets, tags and description.

    Raises InvalidParameters if the catalogue no longer has the lease's network.
    """
    if not row.has_card:
        return _without_card(usual, row)
    sold = selling.catalogue_of(row)
    profile, sku = sold.networks.get(row.network), sold.skus.get(row.sku)
    if profile is None:
        raise pve.InvalidParameters(f"the catalogue has no network {row.network}", errors={})
    plugged = connected(usual, profile, row.addresses)
    is_down = row.link is networks.Link.PENDING
    return dataclasses.replace(
        _of_row(plugged, row),
        network=dataclasses.replace(plugged.network, link_down=is_down),
        nesting=sku is None or sku.nesting,
        **_shares(sku, row.size),
    )


def _without_card(usual: pve_guests.GuestSpec, row: lease.Lease) -> pve_guests.GuestSpec:
    """Return the spec of an image, so that its clones inherit no card, or of its trial."""
    return dataclasses.replace(
        _of_row(usual, row), has_card=False, nameserver=None, search_domain=None
    )


def _of_row(usual: pve_guests.GuestSpec, row: lease.Lease) -> pve_guests.GuestSpec:
    """Return the usual spec with a row's name, template, storage and size.

    A lease from a private image has no template that could be unpacked, so it keeps the usual one.
    """
    is_private = private_images.chosen(row.template) is not None
    return dataclasses.replace(
        usual,
        hostname=row.hostname,
        template=usual.template if is_private else row.template,
        storage=row.storage or usual.storage,
        cores=row.size.cores,
        memory_mb=row.size.memory_mb,
        disk_gb=row.size.disk_gb,
    )


def size_options(selling: on_sale.OnSale, row: lease.Lease, size: lease.Size) -> dict[str, str]:
    """Return the options of a lease's guest that follow from a size, but for its disk."""
    shares = _shares(selling.catalogue_of(row).skus.get(row.sku), size)
    found = {
        "cores": size.cores,
        "memory": size.memory_mb,
        "swap": shares.get("swap_mb"),
        "cpulimit": shares.get("cpu_limit"),
        "cpuunits": shares.get("cpu_units"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _shares(sku: catalogue.Sku | None, size: lease.Size) -> dict[str, Any]:
    """Return what a size gets of swap and of CPU time."""
    if sku is None:
        return {}
    limit, units = sku.cpu_limit, sku.cpu_units
    return {
        "swap_mb": int(size.memory_mb * sku.swap),
        "cpu_limit": None if limit is None else limit * size.cores,
        "cpu_units": None if units is None else min(units * size.cores, CPU_UNITS_LIMIT),
    }


def connected(
    usual: pve_guests.GuestSpec, profile: networks.NetworkProfile, addresses: Mapping[str, str]
) -> pve_guests.GuestSpec:
    """Return a spec with the network of a profile and these addresses, by family.

    Raises InvalidParameters for an address that is not of the profile's pools.
    """
    ipv4, gateway4 = _of_family(profile.ipv4, addresses.get("ipv4"))
    ipv6, gateway6 = _of_family(profile.ipv6, addresses.get("ipv6"))
    card = pve_guests.NetworkSpec(
        bridge=profile.bridge,
        ipv4=ipv4,
        gateway4=gateway4,
        ipv6=ipv6,
        gateway6=gateway6,
        vlan_tag=profile.vlan_tag,
        mtu=profile.mtu,
        firewall=profile.firewall,
        rate_megabytes=profile.rate_megabytes,
    )
    return dataclasses.replace(
        usual,
        network=card,
        nameserver=" ".join(profile.nameservers) or None,
        search_domain=profile.search_domain,
    )


def first_addresses(profile: networks.NetworkProfile) -> dict[str, str]:
    """Return the first address of each pool, to check that guests can be made with them."""
    return {FAMILIES[pool.version]: str(next(pool.addresses())) for pool in profile.pools}


def _of_family(
    addressing: networks.Addressing, address: str | None
) -> tuple[str | None, str | None]:
    """Return a card's address and gateway of one family."""
    if isinstance(addressing, networks.Method):
        return (None if addressing is networks.Method.NONE else addressing.value), None
    if isinstance(addressing, networks.Learned):
        return addressing.method.value, None
    if address is None or ip_address(address) not in addressing.subnet:
        raise pve.InvalidParameters(f"{address} is not inside {addressing.subnet}", errors={})
    gateway = None if addressing.gateway is None else str(addressing.gateway)
    return addressing.on_card(address), gateway
