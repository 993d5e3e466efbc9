"""The tenants' command for another size: change."""

from typing import Annotated

import typer

from pve402.cli.options import DEFAULT_URL, AsJson, Ctid, Token, Url


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(change)


def change(  # noqa: PLR0913 -- one option each
    ctid: Ctid,
    *,
    cores: Annotated[int | None, typer.Option(min=1, help="Processor cores.")] = None,
    memory_mb: Annotated[int | None, typer.Option(min=1, help="Memory, in MiB.")] = None,
    disk_gb: Annotated[int | None, typer.Option(min=1, help="Disk, in GiB; only more.")] = None,
    allow_restart: Annotated[
        bool, typer.Option("--allow-restart", help="Stop and start the container if need be.")
    ] = False,
    quote: Annotated[
        bool, typer.Option("--quote", help="Only show what it would cost, and the new end.")
    ] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Give a container another size; without one, show how far the latest change is."""
    from pve402.cli import size_change_work

    size = {"cores": cores, "memory_mb": memory_mb, "disk_gb": disk_gb}
    if quote:
        size_change_work.quote(url, token, ctid, size, as_json=as_json)
    else:
        size_change_work.change(
            url, token, ctid, size, allow_restart=allow_restart, as_json=as_json
        )
