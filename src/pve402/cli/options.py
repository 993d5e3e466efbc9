"""Options and arguments shared by several of the tenants' commands."""

import os
from pathlib import Path
from typing import Annotated

import typer

#: Stands for the service that `pve402 use` chose.
DEFAULT_URL = ""


def _chosen(context: typer.Context, given: str) -> str:
    """The address of the service that was named, or of the current one."""
    if context.resilient_parsing:
        return given
    from pve402 import client
    from pve402.cli import exit_codes, profile, terminal

    try:
        return profile.url_of(given)
    except client.NotesUnusable as error:
        terminal.say(error)
        raise typer.Exit(exit_codes.USAGE) from None


def _held_names(context: typer.Context, incomplete: str) -> list[str]:
    """The names of leases that this user has tokens of, for the shell to complete."""
    from pve402 import client
    from pve402.cli import profile

    try:
        url = profile.url_of(context.params.get("url") or os.environ.get("PVE402_URL", ""))
        found = client.held.Leases().of(url)
    except client.ClientError:
        return []
    return [one.hostname for one in found if one.hostname.startswith(incomplete)]


Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="PVE402_URL",
        callback=_chosen,
        help="Name or address of the service; by default the current one, or"
        " http://127.0.0.1:4021.",
    ),
]
Cap = Annotated[
    str | None,
    typer.Option(
        "--max-usd",
        envvar="PVE402_MAX_USD",
        help="Pay up to this without asking; by default it asks.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="PVE402_TOKEN", help="Token of a lease, instead of a key."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
PayYes = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Do not ask; pay up to --max-usd, or else up to 1 USD."),
]
Minutes = Annotated[int, typer.Option(min=1, help="Minutes to rent.")]
Sku = Annotated[str, typer.Option(help="What to rent.")]
Cores = Annotated[int, typer.Option(min=1, help="Processor cores.")]
Memory = Annotated[int, typer.Option(min=1, help="Memory, in MiB.")]
Disk = Annotated[int, typer.Option(min=1, help="Disk, in GiB.")]
Template = Annotated[str | None, typer.Option(help="One of the sku's templates.")]
Hostname = Annotated[str, typer.Option(help="Host name of the container.")]
SshKeys = Annotated[
    list[Path] | None, typer.Option(help="File with an SSH public key; may be repeated.")
]
Ctid = Annotated[
    str,
    typer.Argument(
        help="ctid, leaseId, or the host name of exactly one lease.", autocompletion=_held_names
    ),
]
Words = Annotated[list[str], typer.Argument(help="The program and its arguments.")]
Environment = Annotated[
    list[str] | None, typer.Option("--env", help="NAME=VALUE; may be repeated.")
]
LeaseEnvironment = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        help="NAME=VALUE for all commands of the lease, or NAME to take its value from here; may be"
        " repeated.",
    ),
]
UserData = Annotated[
    Path | None,
    typer.Option(
        "--user-data",
        help="Script that root runs once in the new container, - for stdin.",
        allow_dash=True,
    ),
]
WakeOn = Annotated[
    list[str] | None,
    typer.Option(help="What wakes it when it is paused: command, console, port; repeat it."),
]
IdlePause = Annotated[
    int | None,
    typer.Option("--idle-pause", help="Pause it once it was idle for so many minutes.", min=5),
]
UserDataAtOnce = Annotated[
    bool, typer.Option("--user-data-at-once", help="Run it before the network is ready.")
]
PassStdin = Annotated[bool, typer.Option("--stdin", "-i", help="Pass stdin to the program.")]
Remote = Annotated[str, typer.Argument(help="Absolute path of the file in the container.")]
