"""Tenants' commands for snapshots: snapshots, snapshot, rollback."""

from typing import Annotated

import typer

from pve402.cli.options import DEFAULT_URL, AsJson, Ctid, Token, Url, Yes

Name = Annotated[str, typer.Argument(help="Name of the snapshot.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(snapshots)
    app.command()(snapshot)
    app.command()(rollback)


def snapshots(
    ctid: Ctid,
    *,
    delete: Annotated[str | None, typer.Option(help="Name of a snapshot to delete.")] = None,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the snapshots of a container, or delete one with --delete."""
    from pve402.cli import snapshot_work

    snapshot_work.show(url, token, ctid, delete=delete, as_json=as_json)


def snapshot(
    ctid: Ctid,
    name: Name,
    *,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Take a snapshot of a container's disk; the container runs on."""
    from pve402.cli import snapshot_work

    snapshot_work.take(url, token, ctid, name, as_json=as_json)


def rollback(
    ctid: Ctid,
    name: Name,
    *,
    yes: Yes = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Give a container the disk of a snapshot: it stops, and loses what was written since."""
    from pve402.cli import snapshot_work

    snapshot_work.roll_back(url, token, ctid, name, yes=yes, as_json=as_json)
