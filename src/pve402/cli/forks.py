"""The tenants' command for copies of a container: fork."""

from typing import Annotated

import typer

from pve402.cli import options
from pve402.cli.options import DEFAULT_URL, AsJson, Cap, Ctid, Token, Url


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(fork)


def fork(  # noqa: PLR0913 -- one option each
    ctid: Ctid,
    *,
    minutes: Annotated[int, typer.Option(min=1, help="Minutes of each copy to pay for.")] = 60,
    count: Annotated[int, typer.Option(min=1, help="How many copies.")] = 1,
    snapshot: Annotated[
        str | None, typer.Option(help="Snapshot to copy, instead of the container as it is.")
    ] = None,
    hostname: Annotated[
        str | None, typer.Option(help="Of the first copy; the others get -2, -3 and so on.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only show whether it can be copied now.")
    ] = False,
    max_usd: Cap = None,
    yes: options.PayYes = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Lease copies of a container with one payment. Asks before it pays."""
    from pve402.cli import fork_work

    if check:
        fork_work.check(url, token, ctid, snapshot, as_json=as_json)
        return
    wish = {"minutes": minutes, "count": count, "snapshot": snapshot, "hostname": hostname}
    fork_work.fork(url, token, ctid, wish, max_usd=max_usd, without_asking=yes, as_json=as_json)
