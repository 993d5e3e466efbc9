"""All of the tenants' commands."""

import typer

from pve402.cli import (
    accounts,
    agents,
    e2b,
    entries,
    forks,
    inside,
    ports,
    private_images,
    programs,
    reach,
    reinstalls,
    size_changes,
    snapshots,
    tenant,
)


def add_to(app: typer.Typer) -> None:
    """Add them to the command line, in the order of `--help`."""
    of_containers = (
        *(tenant, size_changes, reinstalls, snapshots, private_images, forks),
        *(inside, programs, entries, reach, ports),
    )
    for part in (accounts, *of_containers, agents, e2b):
        part.add_to(app)
