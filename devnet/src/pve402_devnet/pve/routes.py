"""Every call the simulated API knows."""

from pve402_devnet.pve import options, rest
from pve402_devnet.pve.api import (
    access,
    cluster_wide,
    consoles,
    extras,
    firewall_options,
    firewall_rules,
    firewall_sets,
    guests_config,
    guests_create,
    guests_disks,
    guests_status,
    history,
    migration,
    network_addresses,
    networks,
    nodes,
    pools,
    rules,
    snapshots,
    storages,
    tasks,
    users,
)


def every_route(chosen: options.SimulatorOptions) -> tuple[rest.Route, ...]:
    """List the routes; the call that runs a command exists only where it is switched on."""
    return (
        *cluster_wide.ROUTES,
        *guests_create.ROUTES,
        *guests_status.ROUTES,
        *guests_config.ROUTES,
        *guests_disks.ROUTES,
        *snapshots.ROUTES,
        *migration.ROUTES,
        *consoles.ROUTES,
        *extras.ROUTES,
        *firewall_options.ROUTES,
        *firewall_rules.ROUTES,
        *firewall_sets.ROUTES,
        *(extras.EXEC_ROUTES if chosen.exec_endpoint else ()),
        *tasks.ROUTES,
        *networks.ROUTES,
        *network_addresses.ROUTES,
        *nodes.ROUTES,
        *history.ROUTES,
        *storages.ROUTES,
        *access.ROUTES,
        *users.ROUTES,
        *rules.ROUTES,
        *pools.ROUTES,
    )
