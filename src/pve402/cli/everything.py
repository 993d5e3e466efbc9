"""All of the tenants' commands."""

import typer

from pve402.cli import accounts, agents, e2b, entries, inside, ports, programs, reach, tenant


def add_to(app: typer.Typer) -> None:
    """Add them to the command line, in the order of `--help`."""
    for part in (accounts, tenant, inside, programs, entries, reach, ports, agents, e2b):
        part.add_to(app)
