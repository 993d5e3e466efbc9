"""Tenants' commands for published ports: ports, publish, unpublish."""

from typing import Annotated

import typer

from pve402.cli.options import DEFAULT_URL, AsJson, Ctid, Token, Url

Port = Annotated[int, typer.Argument(min=1, max=65535, help="Port of the container's loopback.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(ports)
    app.command()(publish)
    app.command()(unpublish)


def ports(
    ctid: Ctid,
    *,
    login: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Private port to make a link to.")
    ] = None,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List the published ports of a container.

    With --login, print a link that logs a browser in to a private port: once, within 5 minutes.
    """
    from pve402.cli import publishing

    if login is None:
        publishing.show(url, token, ctid, as_json=as_json)
    else:
        publishing.show_login(url, token, ctid, login, as_json=as_json)


def publish(
    ctid: Ctid,
    port: Port,
    *,
    public: Annotated[
        bool, typer.Option("--public", help="For everybody who knows the address.")
    ] = False,
    lasting: Annotated[
        str | None, typer.Option("--for", help="How long, such as 30m, 1h or 7d.")
    ] = None,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Give a web server in a container an address: HTTP and websockets, private unless --public.

    The server may listen on the container's loopback only. Can be repeated to change the options.
    """
    from pve402.cli import publishing

    expires_at = publishing.end_of(lasting)
    publishing.publish(
        url, token, ctid, port, public=public, expires_at=expires_at, as_json=as_json
    )


def unpublish(
    ctid: Ctid, port: Port, *, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Take a published port back; ends the connections to it within seconds."""
    from pve402.cli import publishing

    publishing.unpublish(url, token, ctid, port, as_json=as_json)
