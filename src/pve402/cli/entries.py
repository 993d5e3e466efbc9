"""Tenants' commands for files and folders of a container: ls, watch, stat, mkdir, mv..."""

from typing import Annotated

import typer

from pve402.cli.options import DEFAULT_URL, AsJson, Ctid, Token, Url

Path = Annotated[str, typer.Argument(help="Absolute path in the container.")]
_DEEPEST = 8


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="ls")(list_folder)
    app.command(name="watch")(watch)
    app.command(name="stat")(show)
    app.command(name="mkdir")(make)
    app.command(name="mv")(move)
    app.command(name="rm")(remove)
    app.command(name="chmod")(set_mode)
    app.command(name="chown")(set_owner)


def list_folder(
    ctid: Annotated[
        str | None, typer.Argument(help="ctid, leaseId or host name; without it, list your leases.")
    ] = None,
    path: Path = "/root",
    *,
    depth: Annotated[int, typer.Option(min=1, max=_DEEPEST, help="Levels of folders to list.")] = 1,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List your leases, or a folder in a container with mode, owner, size and time of entries."""
    from pve402.cli import entry_work, holdings

    if ctid is None:
        holdings.show_all(url, token, include_over=False, as_json=as_json)
        return
    entry_work.list_folder(url, token, ctid, path, depth, as_json=as_json)


def watch(
    ctid: Ctid,
    path: Path = "/root",
    *,
    depth: Annotated[
        int, typer.Option(min=1, max=_DEEPEST, help="Levels of folders to watch.")
    ] = 1,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Tell what is created, changed and removed in a folder of a container, until you stop it."""
    from pve402.cli import entry_work

    entry_work.watch(url, token, ctid, path, depth, as_json=as_json)


def show(
    ctid: Ctid, path: Path, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Describe a file, folder or link in a container."""
    from pve402.cli import entry_work

    entry_work.show(url, token, ctid, path, as_json=as_json)


def make(
    ctid: Ctid,
    path: Path,
    *,
    mode: Annotated[str, typer.Option(help="Octal permissions.")] = "0755",
    parents: Annotated[
        bool, typer.Option("--parents", "-p", help="Also make the folders above it.")
    ] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a folder in a container."""
    from pve402.cli import entry_work

    entry_work.make(url, token, ctid, path, mode, with_parents=parents)


def move(
    ctid: Ctid,
    path: Path,
    to: Annotated[str, typer.Argument(help="Its new absolute path.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what is there, unless it is a folder.")
    ] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Move or rename a file, folder or link in a container."""
    from pve402.cli import entry_work

    entry_work.move(url, token, ctid, path, to, replaces=replace)


def remove(
    ctid: Ctid,
    path: Path,
    *,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also remove everything in a folder.")
    ] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Remove a file, link or folder in a container; a full folder only with --recursive."""
    from pve402.cli import entry_work

    entry_work.remove(url, token, ctid, path, is_recursive=recursive)


def set_mode(
    ctid: Ctid,
    mode: Annotated[str, typer.Argument(help="Octal permissions such as 0644.")],
    path: Path,
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Set the mode of a file or folder in a container."""
    from pve402.cli import entry_work

    entry_work.change(url, token, ctid, path, mode=mode)


def set_owner(
    ctid: Ctid,
    owner: Annotated[str, typer.Argument(help="USER, USER:GROUP or :GROUP, names or numbers.")],
    path: Path,
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Set the owner of a file, folder or link in a container."""
    from pve402.cli import entry_work

    entry_work.change(url, token, ctid, path, owner=owner)
