"""The whole devnet as a command: all parts together, and the settings to reach them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pve402_devnet import command, envfile
from pve402_devnet.composition import GRANT_ETH, GRANT_USDC_ATOMIC, Devnet
from pve402_devnet.options import DevnetOptions

SERVICES = (
    ("pve", "Proxmox VE"),
    ("chain", "the chain's JSON-RPC"),
    ("facilitator", "the facilitator"),
)


def main(arguments: Sequence[str] | None, parts: str) -> int:
    """Run a devnet until a signal; returns the exit status. `parts` is appended to the help."""
    return command.main(make_parser(parts), _serve, arguments)


def make_parser(parts: str = "") -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="pve402-devnet",
        description="Simulate Proxmox VE, an EVM chain with USDC and an x402 facilitator, on"
        " loopback, until Ctrl-C. Every run generates new keys and tokens.",
        epilog=parts,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    told = "Write the settings for clients, such as `pve402 serve`."
    add("--env-file", type=command.file, metavar="FILE", help=told)
    for name, what in SERVICES:
        told = f"Port of {what}; 0 takes a free one."
        add(f"--{name}-port", type=command.port, default=0, metavar="N", help=told)
    command.add_latency(add)
    command.add_unsafe_shells(add)
    command.add_network(add)
    command.add_uplink(add)
    told = "Guests run the programs of the root in this folder, not this machine's."
    add("--guest-root", type=command.root_folder, metavar="FOLDER", help=told)
    add("--old-proxmox", action="store_true", help="Consoles refuse API tokens, as they once did.")
    add("--exec-api", action="store_true", help="Offer the exec call that stock Proxmox VE lacks.")
    command.add_fund(add)
    return parser


def options_of(chosen: argparse.Namespace) -> DevnetOptions:
    """What the command line asks for."""
    return DevnetOptions(
        pve_port=chosen.pve_port,
        chain_port=chosen.chain_port,
        facilitator_port=chosen.facilitator_port,
        latency_scale=chosen.latency,
        unsafe_shells=chosen.unsafe_shells,
        guest_root=chosen.guest_root or "",
        network=chosen.network or bool(chosen.uplink),
        uplinks=tuple(chosen.uplink),
        old_proxmox=chosen.old_proxmox,
        exec_api=chosen.exec_api,
        fund=tuple(chosen.fund),
    )


async def _serve(chosen: argparse.Namespace) -> None:
    env_file: Path | None = chosen.env_file
    ending = command.ending()
    async with Devnet(options_of(chosen)) as devnet:
        if env_file is not None:
            envfile.write(env_file, devnet.settings)
        try:
            _show(devnet, env_file)
            await ending.wait()
        finally:
            if env_file is not None:
                envfile.remove(env_file, devnet.settings)


def _show(devnet: Devnet, env_file: Path | None) -> None:
    known = devnet.settings
    grant = f"{GRANT_USDC_ATOMIC // 10**6} USDC and {GRANT_ETH} ETH"
    rows = [
        ("Proxmox VE", known["PVE_HOST"], f"node {known['PVE_NODE']}"),
        ("chain", known["RPC_URL"], "JSON-RPC, chain id 84532 as on Base Sepolia"),
        ("facilitator", known["FACILITATOR_URL"], "x402 versions 1 and 2, scheme exact"),
        ("USDC", devnet.chain.usdc, "where Base Sepolia has it"),
        ("operator", known["PAY_TO"], "is paid"),
        ("tenant", devnet.tenant.address, f"has {grant}"),
    ]
    rows += [("funded", address, f"has {grant}") for address in devnet.options.fund]
    console = Console(highlight=False, soft_wrap=True)
    for name, where, what in rows:
        console.print(f"[bold]{name:<12}[/bold] {where:<42}  [dim]{what}[/dim]")
    if env_file is None:
        console.print("Give --env-file FILE to get the settings for pve402 serve.")
    else:
        console.print(f"Tokens and keys are in {escape(str(env_file))}. Next:")
        console.print(f"    pve402 serve --env-file {escape(str(env_file))}")
    console.print("Everything is simulated, with fresh keys and test money. Press Ctrl-C to stop.")
