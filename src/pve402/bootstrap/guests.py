"""Builds everything that reaches Proxmox VE and its guests: clients, the hub, consoles."""

import dataclasses
from collections.abc import Awaitable, Callable
from decimal import Decimal
from ipaddress import ip_address, ip_interface
from urllib.parse import urlsplit

from pve402 import config
from pve402.domain import catalogue, lease, mark, networks
from pve402.guests import (
    commands,
    connections,
    consoles,
    direct_consoles,
    early_shells,
    guest_work,
    lease_variables,
    ownership,
    peers,
    pulls,
    rates,
    ssh_keys,
    streams,
    user_data,
)
from pve402.hub import (
    detached,
    entries,
    files,
    hub,
    start_scripts,
    terminal_socket,
    vnc,
    watching,
)
from pve402.hub import options as hub_options
from pve402.leases import (
    firewall_view,
    guest_networks,
    guest_specs,
    guest_url,
    learned_addresses,
    on_sale,
    options,
)
from pve402.proxmox import access as pve_access
from pve402.proxmox import client as pve_client
from pve402.proxmox import errors as pve
from pve402.proxmox import firewall as pve_firewall
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import ipam as pve_ipam
from pve402.proxmox import options as pve_options
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, vault


def work_in_guests(
    settings: config.Settings,
    lease_options: options.LeaseOptions,
    db: database.Database,
    secret_vault: vault.Vault,
    proxmox: pve_client.ProxmoxClient,
    console_login: pve_client.ProxmoxClient | None,
) -> guest_work.GuestWork:
    """The hub and its users; with SQLite there is only one process, which owns every guest."""
    guests = pve_guests.Guests(proxmox)
    console_guests = pve_guests.Guests(console_login) if console_login is not None else None
    owners = None
    if not db.is_sqlite:
        owners = ownership.StoredOwnership(db, settings.pve402_peer_bind or "")
    opener = guest_work.OwnGuestsOnly(
        terminal_socket.TermproxyConnector(guests, console_guests), guests, lease_options.instance
    )
    open_vnc = guest_work.OwnGuestsOnly(
        vnc.VncConnector(guests, console_guests), guests, lease_options.instance
    )
    moved = rates.Rates(
        lease_mbps=settings.pve402_lease_mbps,
        wallet_mbps=settings.pve402_wallet_mbps,
        total_mbps=settings.pve402_total_mbps,
    )
    variables = lease_variables.LeaseVariables(db, secret_vault, guests)
    terminal = hub.Hub(_hub_options(settings), opener, owners=owners, find_variables=variables.of)
    opened = streams.Streams(terminal, moved)
    can_forward = owners is None or bool(settings.pve402_peer_bind)
    return guest_work.GuestWork(
        hub=terminal,
        commands=commands.Commands(
            terminal,
            guests,
            pve_tasks.Tasks(proxmox),
            mode=settings.pve_exec,
            check=opener.check,
        ),
        files=files.Files(terminal),
        entries=entries.Entries(terminal),
        watching=watching.Watching(terminal),
        detached=detached.DetachedPrograms(terminal),
        consoles=consoles.Consoles(db),
        streams=opened,
        connections=connections.Connections(opened),
        rates=moved,
        pulls=pulls.Pulls(_guest_url(settings)),
        early_shells=early_shells.EarlyShells(terminal) if can_forward else None,
        direct=_direct_consoles(settings, lease_options, db, secret_vault, proxmox, opener.check),
        ssh_keys=ssh_keys.SshKeys(terminal),
        open_vnc=open_vnc,
        owners=owners,
        peers=peers.Peers(signer=peers.Signer(secret_vault.key("peer"))) if owners else None,
    )


def user_data_runs(
    db: database.Database, secret_vault: vault.Vault, inside: guest_work.GuestWork
) -> user_data.UserDataRuns:
    """What runs tenants' scripts in their new guests."""
    scripts = start_scripts.StartScripts(inside.hub, inside.detached)
    return user_data.UserDataRuns(db, secret_vault, scripts)


def networks_of(
    settings: config.Settings,
    lease_options: options.LeaseOptions,
    db: database.Database,
    proxmox: pve_client.ProxmoxClient,
    view: firewall_view.FirewallView,
    selling: on_sale.OnSale,
) -> guest_networks.GuestNetworks:
    """What connects guests and keeps them apart."""
    guests = pve_guests.Guests(proxmox)
    open_url = settings.pve402_guest_url if settings.pve402_guest_bind else None
    return guest_networks.GuestNetworks(
        db,
        guests,
        pve_firewall.GuestFirewalls(proxmox),
        view,
        settings=lease_options,
        on_sale=selling,
        learned=learned_addresses.LearnedAddresses(db, guests, pve_ipam.Ipam(proxmox)),
        own_url=guest_url.GuestUrl(open_url),
    )


def _guest_url(settings: config.Settings) -> str:
    """Where guests reach us; empty if only this machine does."""
    url = settings.pve402_guest_url or settings.pve402_public_url
    host = urlsplit(url or "").hostname or ""
    is_own = host in {"localhost", "::1"} or host.startswith("127.")
    return url if url and (settings.pve402_guest_url or not is_own) else ""


def _hub_options(settings: config.Settings) -> hub_options.HubOptions:
    terminals = settings.pve402_terminals_per_node
    return hub_options.HubOptions(
        max_sessions_per_node=terminals,
        max_streaming_guests_per_node=min(60, max(1, terminals * 3 // 4)),
    )


def _direct_consoles(
    settings: config.Settings,
    lease_options: options.LeaseOptions,
    db: database.Database,
    secret_vault: vault.Vault,
    proxmox: pve_client.ProxmoxClient,
    check: Callable[[pve_guests.GuestRef], Awaitable[None]],
) -> direct_consoles.DirectConsoles | None:
    """Proxmox VE's own consoles, only if the operator asked for them."""
    if settings.pve_console_mode != "direct":
        return None
    return direct_consoles.DirectConsoles(
        pve_access.Access(proxmox),
        db,
        lambda name, password: _client_of_user(settings, name, password),
        lambda row: check(guest_work.ref(row)),
        console_host=settings.pve_console_host or "",
        instance=lease_options.instance,
        key=secret_vault.key("console users"),
    )


def console_login_of(settings: config.Settings) -> pve_client.ProxmoxClient | None:
    """A user for Proxmox VE's consoles where those refuse API tokens; never shown to tenants."""
    user, secret = settings.pve_console_user, settings.pve_console_password
    if user is None:
        user, secret = "root@pam", settings.pve_root_password
    if secret is None:
        return None
    return _client_of_user(settings, user, secret.get_secret_value())


def _client_of_user(
    settings: config.Settings, user: str, password: str
) -> pve_client.ProxmoxClient:
    with_token = proxmox_options(settings)
    return pve_client.ProxmoxClient(
        dataclasses.replace(
            with_token, token_id="", token_secret="", username=user, password=password
        )
    )


def proxmox_options(settings: config.Settings) -> pve_options.ProxmoxOptions:
    """Return the address of Proxmox VE and our credentials."""
    return pve_options.ProxmoxOptions(
        host=settings.pve_host,
        token_id=settings.pve_token_id,
        token_secret=settings.pve_token_secret.get_secret_value(),
        verify_ssl=settings.pve_verify_ssl,
        ca_file=settings.pve_ca_file,
        fingerprint_sha256=settings.pve_fingerprint,
    )


def check_guests(settings: config.Settings, sku_catalogue: catalogue.Catalogue) -> None:
    """Build the create call's parameters for every template on sale, as a creation would.

    Raises SettingsError or CatalogueError for values with which no guest could be created.
    """
    lease_id = lease.new_lease_id()
    tags = (mark.instance_tag(settings.pve402_instance or "0"), mark.lease_tag(lease_id))
    usual = dataclasses.replace(guest_template(settings), tags=tags)
    found = _problems(usual, settings.pve_vmid_min)
    if found:
        named = {
            _variable_of(name, text): f"{text}; no container could be created"
            for name, text in found
        }
        raise config.SettingsError({name: f"{name}: {text}" for name, text in named.items()})
    for profile in sku_catalogue.networks.values():
        spec = guest_specs.connected(usual, profile, guest_specs.first_addresses(profile))
        for _, text in _problems(spec, settings.pve_vmid_min):
            raise catalogue.CatalogueError(f"network.{profile.name}: {text}")
    for storage in sku_catalogue.storages:
        for _, text in _problems(
            dataclasses.replace(usual, storage=storage), settings.pve_vmid_min
        ):
            raise catalogue.CatalogueError(f"storage {storage!r}: {text}")
    for sku in sku_catalogue.skus.values():
        for name, volume in sku.templates.items():
            spec = dataclasses.replace(usual, template=volume)
            for _, text in _problems(spec, settings.pve_vmid_min):
                is_image = name in sku.images
                where = f"image.{name}" if is_image else f"sku.{sku.name}.templates.{name}"
                raise catalogue.CatalogueError(f"{where}: {text}")


def _problems(spec: pve_guests.GuestSpec, vmid: int) -> list[tuple[str, str]]:
    try:
        spec.parameters(vmid)
    except pve.InvalidParameters as error:
        return list(error.errors.items())
    return []


def _variable_of(parameter: str, text: str) -> str:
    """Return the setting behind a parameter of the create call."""
    if parameter != "net0":
        return _VARIABLES.get(parameter, "PVE_STORAGE")
    return next((name for word, name in _OF_CARD if word in text), "PVE_IP")


_VARIABLES = {
    "ostemplate": "PVE_OS_TEMPLATE",
    "rootfs": "PVE_STORAGE",
    "nameserver": "PVE_NAMESERVER",
    "pool": "PVE_POOL",
    "tags": "PVE402_INSTANCE",
    "vmid": "PVE_VMID_MIN",
}
_OF_CARD = (
    ("gateway", "PVE_GATEWAY"),
    ("bridge", "PVE_BRIDGE"),
    ("VLAN", "PVE_VLAN"),
    ("rate", "PVE_RATE_MBPS"),
)


def network_of_variables(settings: config.Settings) -> networks.NetworkProfile:
    """Return the profile of the variables; a fixed address is a pool of one."""
    rate, server = settings.pve_rate_mbps, settings.pve_nameserver
    is_ipv6 = ":" in settings.pve_ip
    addressing = _addressing_of_variables(settings)
    return networks.NetworkProfile(
        name=networks.OF_VARIABLES,
        bridge=settings.pve_bridge,
        vlan_tag=settings.pve_vlan,
        rate_megabytes=None if rate is None else Decimal(str(rate)),
        nameservers=() if server is None else (server,),
        ipv4=networks.Method.NONE if is_ipv6 else addressing,
        ipv6=addressing if is_ipv6 else networks.Method.NONE,
        firewall=settings.pve_firewall,
    )


def _addressing_of_variables(settings: config.Settings) -> networks.Addressing:
    """Return PVE_IP and PVE_GATEWAY as they were given; `check_guests` checks them as a card."""
    if "/" not in settings.pve_ip:
        return networks.Method(settings.pve_ip)
    if "%" in settings.pve_ip:
        raise config.SettingsError({"PVE_IP": "PVE_IP: the address must not name a zone with %"})
    card = ip_interface(settings.pve_ip)
    gateway = None if settings.pve_gateway is None else ip_address(settings.pve_gateway)
    return networks.AddressPool(subnet=card.network, gateway=gateway, numbers=(int(card.ip),))


def guest_template(settings: config.Settings) -> pve_guests.GuestSpec:
    """Return the parameters common to all guests; the lease's own values replace the rest.

    The card is that of the variables.
    """
    usual = pve_guests.GuestSpec(
        hostname="lease",
        template=settings.pve_os_template,
        storage=settings.pve_storage,
        disk_gb=1,
        memory_mb=128,
        cores=1,
        network=pve_guests.NetworkSpec(bridge=settings.pve_bridge),
        pool=settings.pve_pool,
    )
    profile = network_of_variables(settings)
    found = guest_specs.connected(usual, profile, guest_specs.first_addresses(profile))
    if settings.pve_gateway is not None and not profile.pools:  # an error, which is told at start
        card = dataclasses.replace(found.network, gateway4=settings.pve_gateway)
        return dataclasses.replace(found, network=card)
    return found
