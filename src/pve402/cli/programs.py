"""Tenants' commands for detached commands of a container: ps, logs, kill."""

from typing import Annotated

import typer

from pve402.cli.options import DEFAULT_URL, AsJson, Ctid, Token, Url

ExecId = Annotated[str, typer.Argument(help="Id of the command, as `ps` shows it.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(ps)
    app.command()(logs)
    app.command()(kill)


def ps(ctid: Ctid, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List a container's commands: those that run, and those that ended recently."""
    from pve402.cli import program_work

    program_work.show_all(url, token, ctid, as_json=as_json)


def logs(
    ctid: Ctid,
    exec_id: ExecId,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more, and exit as the command does.")
    ] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the output of a detached command."""
    from pve402.cli import program_work

    if follow:
        raise typer.Exit(program_work.follow(url, token, ctid, exec_id))
    program_work.show(url, token, ctid, exec_id, as_json=as_json)


def kill(
    ctid: Ctid,
    exec_id: ExecId,
    *,
    signal: Annotated[str, typer.Option(help="Name of the signal.")] = "TERM",
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Send a signal to all processes of a detached command."""
    from pve402.cli import program_work

    program_work.kill(url, token, ctid, exec_id, signal)
