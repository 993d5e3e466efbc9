"""The tenants' command for a fresh container: reinstall."""

from typing import Annotated

import typer

from pve402.cli import options
from pve402.cli.options import DEFAULT_URL, AsJson, Ctid, Token, Url, Yes


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(reinstall)


def reinstall(  # noqa: PLR0913 -- one option each
    ctid: Ctid,
    *,
    template: options.Template = None,
    ssh_key: options.SshKeys = None,
    env: options.LeaseEnvironment = None,
    user_data: options.UserData = None,
    user_data_at_once: options.UserDataAtOnce = False,
    delete_snapshots: Annotated[
        bool, typer.Option("--delete-snapshots", help="Its snapshots may be deleted.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Only show how far the latest one is.")
    ] = False,
    yes: Yes = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Destroy a container and make a fresh one in its place; all files are lost.

    Without --ssh-key, root gets the password in PVE402_ROOT_PASSWORD; without that too, the keys
    that the lease was bought with may log in.
    """
    from pve402.cli import reinstall_work

    if show:
        reinstall_work.show(url, token, ctid, as_json=as_json)
        return
    wish = reinstall_work.wish(
        template=template,
        ssh_key=ssh_key or [],
        env=env or [],
        user_data=user_data,
        at_once=user_data_at_once,
        delete_snapshots=delete_snapshots,
    )
    reinstall_work.reinstall(url, token, ctid, wish, yes=yes, as_json=as_json)
