"""The tenants' command for agents: mcp."""

from typing import Annotated, Literal

import typer

from pve402.cli.options import DEFAULT_URL, Url

Client = Literal["claude-code", "claude-desktop", "codex", "cursor", "vscode"]


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(mcp)


def mcp(
    *,
    max_usd: Annotated[
        str,
        typer.Option(envvar="PVE402_MAX_USD", help="The most USD that one payment may be."),
    ] = "1.00",
    max_usd_per_hour: Annotated[
        str, typer.Option(help="The most USD that agents may spend in an hour; none for no limit.")
    ] = "5.00",
    max_usd_in_all: Annotated[
        str, typer.Option(help="The most USD that agents may ever spend; none for no limit.")
    ] = "none",
    config: Annotated[
        Client | None, typer.Option(help="Print what to paste into this agent, and end.")
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Serve boxes as tools to an agent that speaks MCP over stdio, until it closes stdin.

    The agent pays with the wallet of `pve402 login`, within these limits and those of
    `pve402 wallet limits`; it never sees a key or a token. Leases outlive this command. Needs
    `pip install 'pve402[mcp]'`.
    """
    from pve402.cli import agent_work

    limits = (max_usd, max_usd_per_hour, max_usd_in_all)
    if config is None:
        agent_work.serve(url, limits)
    else:
        agent_work.show_configuration(config, url, limits)
