"""Tenants' commands that lead into a container: ssh, ssh-config, tunnel, keys."""

from pathlib import Path
from typing import Annotated

import typer

from pve402.cli.inside import WordsLast
from pve402.cli.options import DEFAULT_URL, AsJson, Ctid, Token, Url

Identity = Annotated[
    Path | None,
    typer.Option("--identity", help="Private key to log in with; one is made if not given."),
]
SshWords = Annotated[
    list[str] | None, typer.Argument(help="Options and command for ssh, such as -L or uptime.")
]


class SshWordsLast(WordsLast):
    """The words after the lease are for ssh, its options too."""

    leaves_unknown = True


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="ssh", cls=SshWordsLast)(ssh)
    app.command(name="ssh-config")(ssh_config)
    app.command()(shell)
    app.command()(tunnel)
    app.command()(keys)


def ssh(
    ctid: Ctid,
    words: SshWords = None,
    *,
    identity: Identity = None,
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Log in to a container by SSH, through the service; the container needs an SSH server.

    Words after the lease go to ssh. The container's host key is read through the service.
    """
    from pve402.cli import ssh_work

    ssh_work.log_in(url, token, ctid, words or [], identity)


def ssh_config(
    ctid: Ctid, *, identity: Identity = None, token: Token = None, url: Url = DEFAULT_URL
) -> None:
    """Print the lines for ~/.ssh/config with which ssh, scp, rsync and git reach a container.

    They run `pve402 tunnel`, which reads PVE402_TOKEN or PVE402_WALLET_KEY.
    """
    from pve402.cli import ssh_work

    ssh_work.show_config(url, token, ctid, identity)


def shell(ctid: Ctid, *, token: Token = None, url: Url = DEFAULT_URL) -> None:
    """Open an interactive shell in a container, and end with its exit code.

    A connection that breaks for less than a minute loses nothing. Each shell is one of its own.
    """
    from pve402.cli import shell_work

    raise typer.Exit(shell_work.shell(url, token, ctid))


def tunnel(
    ctid: Ctid,
    ports: Annotated[
        list[str] | None, typer.Argument(help="LOCAL:REMOTE, or one port for both; 0 is any.")
    ] = None,
    *,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Connect local ports to ports of the container's loopback, until Ctrl-C.

    Without ports, connect stdin and stdout to its SSH server, as the ProxyCommand of ssh. With
    --json it prints a line for each port once it listens.
    """
    from pve402.cli import port_work, ssh_work

    if ports:
        port_work.forward(url, token, ctid, port_work.parsed(ports), as_json=as_json)
    else:
        raise typer.Exit(ssh_work.tunnel(url, token, ctid))


def keys(
    ctid: Ctid,
    *,
    add: Annotated[Path | None, typer.Option(help="File with an SSH public key to let in.")] = None,
    remove: Annotated[str | None, typer.Option(help="Fingerprint of a key to remove.")] = None,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the SSH keys of a running container; add or remove one."""
    from pve402.cli import ssh_work

    ssh_work.keys(url, token, ctid, add, remove, as_json=as_json)
