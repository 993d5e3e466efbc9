"""`pve402 devnet`: everything a developer needs on one machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
from rich.console import Console
from rich.markup import escape

from pve402_devnet import envfile
from pve402_devnet.composition import GRANT_ETH, GRANT_USDC_ATOMIC, Devnet
from pve402_devnet.options import DevnetOptions
from pve402_devnet.proxmox import GuestsRefused

FAILED = 1
BAD_USE = 2
SERVICES = (
    ("pve", "Proxmox VE"),
    ("chain", "the chain's JSON-RPC"),
    ("facilitator", "the facilitator"),
)
RECURSION_LIMIT = 1000  # what Python itself sets
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a devnet until SIGINT, SIGTERM or SIGHUP; returns the exit status.

    0 after such an end; 1 when a part cannot start (a port is taken, guests are refused, the
    settings cannot be written); 2 for a bad command line.
    """
    try:
        chosen = _parser().parse_args(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Ethereum libraries raise it so far that nested JSON from outside could end the process.
    sys.setrecursionlimit(RECURSION_LIMIT)
    try:
        asyncio.run(_serve(_options(chosen), chosen.env_file))
    except (GuestsRefused, OSError) as error:
        Console(stderr=True).print(f"devnet: {error}", style="bold red", highlight=False)
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pve402 devnet",
        description="Simulate Proxmox VE, an EVM chain with USDC and an x402 facilitator, on"
        " loopback, until Ctrl-C. Keys and tokens are drawn anew for each run.",
    )
    add = parser.add_argument
    add("--env-file", type=_file, metavar="FILE", help="Write the settings for `pve402 serve`.")
    for name, what in SERVICES:
        told = f"Port of {what}; 0 takes a free one."
        add(f"--{name}-port", type=_port, default=0, metavar="N", help=told)
    add(
        "--latency",
        type=_scale,
        default=1.0,
        metavar="SCALE",
        help="Scale of Proxmox VE's times, measured on a real one; 0 for no waiting.",
    )
    add(
        "--unsafe-shells",
        action="store_true",
        help="Run guests without isolation where this machine refuses namespaces.",
    )
    add("--old-proxmox", action="store_true", help="Consoles refuse API tokens, as they once did.")
    add("--exec-api", action="store_true", help="Offer the exec call that stock Proxmox VE lacks.")
    add(
        "--fund",
        type=_address,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="Give this account test money; may be repeated.",
    )
    return parser


def _options(chosen: argparse.Namespace) -> DevnetOptions:
    return DevnetOptions(
        pve_port=chosen.pve_port,
        chain_port=chosen.chain_port,
        facilitator_port=chosen.facilitator_port,
        latency_scale=chosen.latency,
        unsafe_shells=chosen.unsafe_shells,
        old_proxmox=chosen.old_proxmox,
        exec_api=chosen.exec_api,
        fund=tuple(chosen.fund),
    )


async def _serve(options: DevnetOptions, env_file: Path | None) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ending.set)
    async with Devnet(options) as devnet:
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
    console.print("All of it is simulated, with fresh keys and test money. Ctrl-C ends it.")


def _file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    return path


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return number


def _scale(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("a scale is 0 to 100")
    return number


def _address(text: str) -> str:
    if not ADDRESS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} is no address (0x and 40 hexadecimal digits)")
    return text


if __name__ == "__main__":
    sys.exit(main())
