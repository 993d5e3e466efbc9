"""The settings of leases in the words of the use cases, and what shows leases."""

from pve402 import config
from pve402.domain import placement, quota
from pve402.leases import cluster, machine, on_sale, options, seen_addresses, views
from pve402.proxmox import guests as pve_guests
from pve402.storage import vault


def lease_options(settings: config.Settings, secret_vault: vault.Vault) -> options.LeaseOptions:
    """Return the options of leases that the settings describe."""
    return options.LeaseOptions(
        instance=settings.pve402_instance or secret_vault.key("instance").hex()[:10],
        default_template=settings.pve_os_template,
        fixed_node=settings.pve_node or None,
        vmid_min=settings.pve_vmid_min,
        vmid_max=settings.pve_vmid_max,
        limits=placement.Limits(
            leases_per_node=settings.pve402_leases_per_node,
            memory_mb_per_node=settings.pve402_memory_mb_per_node,
            cores_overcommit=settings.pve402_cores_overcommit,
            disk_overcommit=settings.pve402_disk_overcommit,
            memory_reserve_mb=settings.pve402_memory_reserve_mb,
        ),
        address_rest_seconds=settings.pve402_address_rest_minutes * 60,
        address_history_seconds=settings.pve402_address_history_days * 86400,
        grace_seconds=settings.pve402_grace_hours * 3600,
        grace_per_paid=settings.pve402_grace_per_paid,
        paid_ahead_limit_seconds=settings.pve402_max_paid_ahead_days * 86400,
        unsettled_per_wallet=settings.pve402_max_unsettled_per_wallet,
        unsettled_per_address=settings.pve402_max_unsettled_per_address,
        unsettled_per_payer=settings.pve402_max_unsettled_per_payer,
        unsettled_in_all=settings.pve402_max_unsettled,
        unsettled_of_new_wallets=settings.pve402_max_unsettled_of_new_wallets,
        quotas=quota.Quotas(
            wallet=settings.pve402_wallet_limits or quota.Quota(),
            address=settings.pve402_address_limits or quota.Quota(),
            new_wallets=settings.pve402_new_wallet_limits or quota.Quota(),
            new_for_seconds=settings.pve402_new_wallet_hours * 3600,
        ),
        creates_per_node=settings.pve402_node_creates,
        writes_per_node=settings.pve402_node_writes,
        wakes_an_hour=settings.pve402_wakes_an_hour,
        snapshots_per_lease=settings.pve402_snapshots,
        private_images=settings.pve402_private_images,
        private_images_per_wallet=settings.pve402_private_images_per_wallet,
        forks_at_once=settings.pve402_forks,
        warm_kinds=settings.pve402_pool,
    )


def views_of(
    view: cluster.ClusterView,
    machines: machine.Machines,
    guests: pve_guests.Guests,
    selling: on_sale.OnSale,
    instance: str,
) -> views.LeaseViews:
    """Return what shows leases with their guests."""
    addresses = seen_addresses.SeenAddresses(guests, selling)
    return views.LeaseViews(view, machines, addresses, instance)
