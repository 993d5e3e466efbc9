"""Every call the simulated API knows."""

from pve402.devnet.pve import options, rest
from pve402.devnet.pve.api import cluster_wide, guests_config, guests_create, guests_status, tasks


def every_route(chosen: options.SimulatorOptions) -> tuple[rest.Route, ...]:
    """List the routes; the call that runs a command exists only where it is switched on."""
    return (
        *cluster_wide.ROUTES,
        *guests_create.ROUTES,
        *guests_status.ROUTES,
        *guests_config.ROUTES,
        *tasks.ROUTES,
    )
