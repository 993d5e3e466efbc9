"""Tenants' commands for services and wallets: login, logout, use, services, completion, wallet."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pve402.cli.options import DEFAULT_URL, AsJson, Url

#: The variable by which a shell asks for completions.
COMPLETE = "_PVE402_COMPLETE"

Shell = Literal["bash", "zsh", "fish"]
Name = Annotated[str, typer.Argument(help="Name of the service.")]
WalletName = Annotated[str | None, typer.Option("--wallet", help="Name of the wallet.")]
Maximum = Annotated[str | None, typer.Option(help="USD, such as 0.50; none for no limit.")]

wallet = typer.Typer(no_args_is_help=True, help="Your wallets: new, list, address, balance, spent.")


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(login)
    app.command()(logout)
    app.command()(use)
    app.command()(services)
    app.command()(completion)
    app.add_typer(wallet, name="wallet")


def login(
    address: Annotated[str, typer.Argument(metavar="URL", help="Address of the service.")],
    *,
    name: Annotated[str | None, typer.Option(help="Name for it; its host by default.")] = None,
    wallet: WalletName = None,
    key_file: Annotated[
        Path | None, typer.Option(help="File with the wallet's key, of mode 600; - for stdin.")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key.")
    ] = None,
    key_command: Annotated[
        str | None, typer.Option(help="Command that prints the key, such as of a keyring.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name a service and the wallet that pays it, and sign in once to see that both are good.

    Without an option, the wallet you have is used, or its key is asked for and kept in a file of
    mode 600. A key is never an argument: others could see it.
    """
    from pve402.cli import account_work

    source = account_work.Source(file=key_file, variable=key_env, command=key_command)
    account_work.login(address, name, wallet, source, as_json=as_json)


def logout(name: Name) -> None:
    """Forget a service and the tokens of its leases; wallets and leases stay."""
    from pve402.cli import account_work

    account_work.logout(name)


def use(name: Name) -> None:
    """Choose the service that commands without --url go to."""
    from pve402.cli import account_work

    account_work.use(name)


def services(as_json: AsJson = False) -> None:
    """List the services you have named."""
    from pve402.cli import account_work

    account_work.show_services(as_json=as_json)


def completion(
    shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """Print the script that completes commands, options and your leases' names in a shell.

    For bash: `eval "$(pve402 completion bash)"` in ~/.bashrc.
    """
    from typer import completion as scripts

    script = scripts.get_completion_script(  # type: ignore[attr-defined]  # not in its __all__
        prog_name="pve402", complete_var=COMPLETE, shell=shell
    )
    typer.echo(script)


@wallet.command(name="new")
def new_wallet(
    name: Annotated[str, typer.Argument(help="Name for it.")] = "main", as_json: AsJson = False
) -> None:
    """Make a wallet; its key is kept in a file of mode 600, which you should copy to a safe."""
    from pve402.cli import wallet_work

    wallet_work.new(name, as_json=as_json)


@wallet.command(name="list")
def list_wallets(as_json: AsJson = False) -> None:
    """List the wallets and where their keys are."""
    from pve402.cli import wallet_work

    wallet_work.show_all(as_json=as_json)


@wallet.command()
def address(wallet: WalletName = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show the wallet's address: the one that pays the service, if none is named."""
    from pve402.cli import wallet_work

    wallet_work.show_address(url, wallet, as_json=as_json)


@wallet.command()
def balance(wallet: WalletName = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what the wallet owns on each network that the service takes payments on."""
    from pve402.cli import wallet_work

    wallet_work.show_balance(url, wallet, as_json=as_json)


@wallet.command()
def spent(as_json: AsJson = False) -> None:
    """Show what was spent, and ask the chains about payments whose outcome is open."""
    from pve402.cli import wallet_work

    wallet_work.show_spent(as_json=as_json)


@wallet.command()
def limits(
    *,
    per_call: Maximum = None,
    per_hour: Maximum = None,
    in_all: Maximum = None,
    as_json: AsJson = False,
) -> None:
    """Show or change the most that all programs of yours may spend; --in-all counts from now on."""
    from pve402.cli import wallet_work

    wallet_work.limits(per_call, per_hour, in_all, as_json=as_json)
