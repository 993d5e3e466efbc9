"""The command `pve402`: hands each subcommand to its part, which is imported only then."""

import contextlib
import gc
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import pve402

app = typer.Typer(
    name="pve402",
    help="Rent out Proxmox VE containers by the minute, paid over HTTP with x402.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
_PASSED_ON = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": ["--no-such-help"],
}
_NOT_INSTALLED = 2


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pve402 {pve402.__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
]


@app.callback()
def pve402_command(version: Version = False) -> None:
    """Rent out Proxmox VE containers by the minute, paid over HTTP with x402."""


@app.command()
def serve(
    env_file: Annotated[
        Path | None, typer.Option(help="File with settings; `.env` by default.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Run the service until SIGTERM; exits 2 on a bad setting and says which."""
    gc.disable()  # until the server listens: nothing that a start makes is garbage
    with _server_needed("serve"):
        from pve402.api import server

    given = {"pve402_host": host, "pve402_port": port}
    overrides = {name: value for name, value in given.items() if value is not None}
    raise typer.Exit(server.serve(env_file, **overrides))


@app.command()
def setup(  # noqa: PLR0913 -- one option each
    *,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Settings to write, such as PVE_HOST=pve."),
    ] = None,
    env_file: Annotated[Path, typer.Option(help="File with settings to write.")] = Path(".env"),
    catalogue: Annotated[
        Path | None, typer.Option(help="Catalogue to write; beside the settings by default.")
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option(help="Node to prepare, NAME or NAME=ADDRESS; repeatable.")
    ] = None,
    sdn: Annotated[
        bool | None, typer.Option(help="Give containers a network of their own, or never offer it.")
    ] = None,
    subnet: Annotated[str | None, typer.Option(help="Network of the containers.")] = None,
    gateway: Annotated[str, typer.Option(help="With --subnet: its router.")] = "",
    addresses: Annotated[
        list[str] | None, typer.Option(help="With --subnet: a range, FIRST-LAST; repeatable.")
    ] = None,
    nameserver: Annotated[
        list[str] | None, typer.Option(help="With --subnet: a name server; repeatable.")
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option("--from", help="Where you administer the nodes from; repeatable."),
    ] = None,
    ssh_port: Annotated[int, typer.Option(help="The port of SSH on the nodes.")] = 22,
    yes: Annotated[
        bool, typer.Option("--yes", help="Change existing files without asking.")
    ] = False,
    run: Annotated[
        bool, typer.Option("--run", help="Make the changes, with an administrator's password.")
    ] = False,
) -> None:
    """Write settings and catalogue, and print the commands that prepare Proxmox VE for them.

    Asks for what is missing where there is a terminal. Can be repeated. The commands go to stdout,
    everything else to stderr. With --run, it logs in to Proxmox VE and makes the changes itself.
    """
    with _server_needed("setup"):
        from pve402.config import logs
        from pve402.setup import catalogue_text, configuration, firewalling
        from pve402.setup import main as setup_main
        from pve402.setup.operator import Terminal

    network = None
    lonely = {"--gateway": gateway, "--addresses": addresses, "--nameserver": nameserver}
    if subnet is None and (names := [name for name, value in lonely.items() if value]):
        raise typer.BadParameter(f"{names[0]} belongs to a network; add --subnet")
    if subnet is not None:
        network = catalogue_text.Subnet(
            subnet=subnet, gateway=gateway, ranges=addresses or (), nameservers=nameserver or ()
        )
    asked = configuration.Asked(
        arguments=settings or (),
        env_file=env_file,
        catalogue_file=catalogue,
        nodes=node or (),
        subnet=network,
        sdn=sdn,
        ways=firewalling.Ways(sources=sources or (), ssh_port=ssh_port),
        may_replace=yes,
        over_api=run,
    )
    logs.configure("warning", "auto")
    raise typer.Exit(setup_main.run(asked, Terminal()))


@app.command(context_settings=_PASSED_ON)
def devnet(context: typer.Context) -> None:
    """Run `pve402-devnet`: a simulated Proxmox VE, an EVM chain and a facilitator."""
    installed = importlib.metadata.entry_points(group="console_scripts", name="pve402-devnet")
    for command in installed:
        raise typer.Exit(command.load()(context.args))
    _refuse("the devnet is a separate package: pip install pve402-devnet")


@app.command(context_settings=_PASSED_ON)
def ops(context: typer.Context) -> None:
    """Commands for operators: show, reconcile, rebuild."""
    with _server_needed("ops"):
        from pve402.ops import main as ops_main

    raise typer.Exit(ops_main.main(context.args))


@app.command()
def openapi(
    public_url: Annotated[str, typer.Option(help="Address in the document.")] = (
        "https://rent.example.com"
    ),
) -> None:
    """Print the OpenAPI document."""
    with _server_needed("openapi"):
        from pve402.api import app as api_app

    sys.stdout.write(api_app.openapi_text(public_url))


@app.command(context_settings=_PASSED_ON)
def demo() -> None:
    """Say how to run the demo of a lease's whole life: `make demo`, in a checkout."""
    _refuse("the demo runs from a checkout of pve402: type `make demo` there")


@contextlib.contextmanager
def _server_needed(command: str) -> Iterator[None]:
    """Say what to install where the server's packages are missing."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "pve402":
            raise
        _refuse(
            f"`pve402 {command}` needs the server ({missing.name} is not installed):"
            " pip install 'pve402[server]'"
        )


def _refuse(sentence: str) -> NoReturn:
    """Say what is not installed, and end."""
    typer.echo(f"pve402: {sentence}", err=True)
    raise typer.Exit(_NOT_INSTALLED) from None


def _open_standard_streams() -> None:
    """Open the descriptors that whoever started us closed; a socket would get their numbers.

    Such a stdin is empty, such a stdout cannot be written to, and such a stderr loses what is said.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
            if number == 0:
                sys.stdin = os.fdopen(0, closefd=False)


def main() -> None:
    """Run the command line; what tenants run is read only where one of it may be meant."""
    _open_standard_streams()
    if sys.argv[1:2] != ["serve"]:
        from typer import completion

        from pve402.cli import accounts, everything

        everything.add_to(app)
        if accounts.COMPLETE in os.environ:
            completion.completion_init()  # type: ignore[attr-defined]  # not in its __all__
    app()


if __name__ == "__main__":
    main()
