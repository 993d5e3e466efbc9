"""`pve402-devnet chain`: an EVM chain with USDC on loopback until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pve402_devnet import command
from pve402_devnet.chain import ChainOptions, SimulatedChain

GRANT_USDC_ATOMIC = 1_000 * 10**6
GRANT_ETH = 10
_PORT = 8545


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve; returns the exit status."""
    return command.main(make_parser(), _serve, arguments)


def make_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="pve402-devnet chain", description=__doc__)
    add = parser.add_argument
    command.add_port(add, _PORT)
    told = "Seconds between blocks; 0 switches timed blocks off. Default: %(default)s."
    add("--block-seconds", type=command.scale, default=2.0, metavar="N", help=told)
    told = "Leave transactions waiting until the next block."
    add("--no-automine", action="store_true", help=told)
    command.add_fund(add)
    return parser


def options_of(chosen: argparse.Namespace) -> ChainOptions:
    """What the command line asks for."""
    return ChainOptions(
        port=chosen.port,
        automine=not chosen.no_automine,
        block_interval_seconds=chosen.block_seconds or None,
    )


async def _serve(chosen: argparse.Namespace) -> None:
    ending = command.ending()
    async with SimulatedChain(options_of(chosen)) as chain:
        for address in chosen.fund:
            chain.fund(address, usdc_atomic=GRANT_USDC_ATOMIC, eth=GRANT_ETH)
        command.say(f"RPC_URL={chain.url}")
        command.say(f"CHAIN_ID={chain.options.chain_id}")
        command.say(f"USDC={chain.usdc}")
        await ending.wait()


if __name__ == "__main__":
    sys.exit(main())
