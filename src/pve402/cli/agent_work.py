"""The work of `mcp`: serve an agent, or print its configuration."""

import shutil
import sys
from pathlib import Path
from typing import Final

import typer

from pve402 import client
from pve402.cli import credentials, profile, terminal, wallet_work
from pve402.client import spending
from pve402.mcp_server import configurations

#: Per payment, per hour, in all; in USD as typed.
Limits = tuple[str, str, str]
_OPTIONS: Final = ("--max-usd", "--max-usd-per-hour", "--max-usd-in-all")


def serve(url: str, limits: Limits) -> None:
    """Serve over stdio until the client ends it."""
    chosen = _limits(limits)
    with terminal.told():
        url = client.address.checked(url)
    key = credentials.wallet_key(url)
    try:
        from pve402.mcp_server import desk, server
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package == "pve402":
            raise
        terminal.misused(
            f"`pve402 mcp` needs the SDK of MCP ({package} is not installed):"
            " pip install 'pve402[mcp]'"
        )
    if key is None:
        terminal.say("there is no wallet for this service yet; `pve402 login URL` names one")
    if sys.stdin.isatty():
        terminal.say("an agent talks to this command; `pve402 mcp --config CLIENT` sets one up")
    code = server.serve(desk.Options(url=url, key=key, limits=chosen))
    if code:
        raise typer.Exit(code)


def show_configuration(kind: configurations.Client, url: str, limits: Limits) -> None:
    """Print what to paste into a client, and say where."""
    _limits(limits)
    with terminal.told():
        url = client.address.checked(url)
        is_named = profile.load().wallet_of(url) is not None
    told = [word for pair in zip(_OPTIONS, limits, strict=True) for word in pair]
    made = configurations.of(kind, [*_program(), "mcp", "--url", url, *told])
    terminal.say(f"{made.where}:")
    typer.echo(made.text)
    if not is_named:
        terminal.say(
            f"no wallet is kept for {url}: run `pve402 login {url}` first; {profile.KEY_VARIABLE}"
            " is not put into a configuration"
        )


def _limits(limits: Limits) -> spending.Limits:
    per_call, per_hour, in_all = (wallet_work.micro_usd(one, None) for one in limits)
    return spending.Limits(
        per_call_micro_usd=per_call, per_hour_micro_usd=per_hour, in_all_micro_usd=in_all
    )


def _program() -> list[str]:
    """How an agent starts this command, whose PATH may be another one."""
    started = Path(sys.argv[0])
    found = shutil.which(started) if started.name == "pve402" else None
    return [sys.executable, "-m", "pve402"] if found is None else [str(Path(found).absolute())]
