"""`pve402-devnet facilitator`: an x402 facilitator on loopback until Ctrl-C.

It settles on the node at `--rpc-url`, by default on a chain of its own. Its key comes from
FACILITATOR_KEY; without one, it generates a key and requests ETH for it, as devnets and anvil
allow.
"""

from __future__ import annotations

import argparse
import http.client
import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from pve402_devnet import command
from pve402_devnet.chain import ChainOptions, SimulatedChain, contracts
from pve402_devnet.facilitator import node, wallet
from pve402_devnet.facilitator.server import FacilitatorOptions, SimulatedFacilitator

GRANT_WEI = 10 * 10**18
KEY_VARIABLE = "FACILITATOR_KEY"
_PORT = 4020


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve; returns the exit status."""
    return command.main(make_parser(), _serve, arguments)


def make_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="pve402-devnet facilitator", description=__doc__)
    command.add_port(parser.add_argument, _PORT)
    told = "Node to settle on, over plain http; its chain must have the id of Base Sepolia."
    parser.add_argument("--rpc-url", metavar="URL", help=told)
    return parser


async def _serve(chosen: argparse.Namespace) -> None:
    ending = command.ending()
    async with AsyncExitStack() as parts:
        call_node, rpc_url = await parts.enter_async_context(_node(chosen.rpc_url))
        options = FacilitatorOptions(
            call_node=call_node,
            private_key=_given_key() or _funded_key(call_node),
            port=chosen.port,
            wallet_factories=(contracts.WALLET_FACTORY_ADDRESS,),
        )
        facilitator = await parts.enter_async_context(SimulatedFacilitator(options))
        command.say(f"FACILITATOR_URL={facilitator.url}")
        command.say(f"RPC_URL={rpc_url}")
        command.say(f"# pays gas: {facilitator.address}")
        await ending.wait()


@asynccontextmanager
async def _node(rpc_url: str | None) -> AsyncIterator[tuple[node.CallNode, str]]:
    if rpc_url is None:
        async with SimulatedChain(ChainOptions(block_interval_seconds=2.0)) as chain:
            yield chain.rpc, chain.url
        return
    try:
        there = node.HttpNode(rpc_url)
    except ValueError as error:
        raise command.CannotStart(str(error)) from error
    try:
        yield there, rpc_url
    finally:
        there.close()


def _given_key() -> str | None:
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        return None
    try:
        wallet.Wallet(key)
    except ValueError:
        raise command.CannotStart(f"{KEY_VARIABLE} does not hold a private key") from None
    return key


def _funded_key(call_node: node.CallNode) -> str:
    key = secrets.token_hex(32)
    account = wallet.Wallet(key).address
    try:
        call_node("anvil_setBalance", account, hex(GRANT_WEI))
    except (node.NodeRefused, OSError, http.client.HTTPException, ValueError) as error:
        raise command.CannotStart(
            f"the node gives no test money ({error}); put the key of an account with ETH into"
            f" {KEY_VARIABLE}"
        ) from error
    return key


if __name__ == "__main__":
    sys.exit(main())
