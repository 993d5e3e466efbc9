"""Tenants' command for programs written for E2B: e2b."""

from typing import Annotated

import typer

from pve402.cli.options import DEFAULT_URL, Url


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(e2b)


def e2b(  # noqa: PLR0913 -- one option each
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1.")] = 4420,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=SKU or NAME=SKU/OS-TEMPLATE: what is leased for a template of E2B's; may be"
            " repeated. `base` is the first sku on sale, unless it is named here."
        ),
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores of each sandbox.")] = None,
    memory_mb: Annotated[int | None, typer.Option(min=1, help="Memory of each, in MiB.")] = None,
    disk_gb: Annotated[int | None, typer.Option(min=1, help="Disk of each, in GiB.")] = None,
    publish: Annotated[
        list[int] | None,
        typer.Option(help="Port that every sandbox publishes for everybody; may be repeated."),
    ] = None,
    max_usd: Annotated[
        str, typer.Option("--max-usd", envvar="PVE402_MAX_USD", help="The most for one payment.")
    ] = "1.00",
    budget_usd: Annotated[
        str | None, typer.Option("--budget-usd", help="The most for all payments of this run.")
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Serve E2B's API on this machine, for programs written for E2B, until Ctrl-C.

    Each sandbox is a leased container that your wallet pays, without asking: within --max-usd,
    --budget-usd and the limits of the spend ledger. Sandboxes run on after Ctrl-C, until their time
    ends.
    """
    from pve402.cli import e2b_work

    asked = e2b_work.Asked(
        port=port,
        templates=template or (),
        cores=cores,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
        publish=tuple(publish or ()),
        max_usd=max_usd,
        budget_usd=budget_usd,
    )
    e2b_work.run(url, asked)
