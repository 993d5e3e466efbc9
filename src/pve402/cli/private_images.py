"""Tenants' commands for private images: images, save, keep."""

from typing import Annotated

import typer

from pve402.cli.options import DEFAULT_URL, AsJson, Cap, Ctid, PayYes, Token, Url

Name = Annotated[str, typer.Argument(help="Name of the image.", show_default=False)]
Kept = Annotated[int, typer.Option("--minutes", min=60, help="Minutes to keep it.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(images)
    app.command()(save)
    app.command()(keep)


def images(
    *,
    delete: Annotated[
        str | None, typer.Option(help="Name or imageId of an image to delete.")
    ] = None,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List your private images, or delete one with --delete."""
    from pve402.cli import private_image_work

    private_image_work.show(url, token, delete=delete, as_json=as_json)


def save(  # noqa: PLR0913 -- one option each
    ctid: Ctid,
    name: Name,
    *,
    minutes: Kept = 1440,
    snapshot: Annotated[
        str | None,
        typer.Option(help="Save this snapshot; otherwise the container must be stopped."),
    ] = None,
    max_usd: Cap = None,
    yes: PayYes = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Save a container as a private image; `lease --template private/IMAGEID` makes others."""
    from pve402.cli import private_image_work

    private_image_work.save(
        url,
        token,
        ctid,
        name,
        minutes,
        snapshot=snapshot,
        max_usd=max_usd,
        without_asking=yes,
        as_json=as_json,
    )


def keep(
    name: Name,
    *,
    minutes: Kept = 1440,
    max_usd: Cap = None,
    yes: PayYes = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Keep a private image longer."""
    from pve402.cli import private_image_work

    private_image_work.keep(
        url, name, minutes, max_usd=max_usd, without_asking=yes, as_json=as_json
    )
