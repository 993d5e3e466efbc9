"""Options and arguments shared by several of the tenants' commands."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:4021"

Url = Annotated[str, typer.Option("--url", envvar="PVE402_URL", help="Address of the service.")]
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
Ctid = Annotated[str, typer.Argument(help="ctid, leaseId, or the host name of exactly one lease.")]
Words = Annotated[list[str], typer.Argument(help="The program and its arguments.")]
Environment = Annotated[
    list[str] | None, typer.Option("--env", help="NAME=VALUE; may be repeated.")
]
PassStdin = Annotated[bool, typer.Option("--stdin", "-i", help="Pass stdin to the program.")]
Remote = Annotated[str, typer.Argument(help="Absolute path of the file in the container.")]
