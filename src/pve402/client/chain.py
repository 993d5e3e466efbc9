"""Looks at a chain through a JSON-RPC endpoint: balances, and which signatures were used.

    async with chain.Chain("eip155:84532") as base:
        print(await base.balance(asset, address))

The endpoints are public ones, or those in PVE402_RPC_URL: URL for every network, or
NETWORK=URL,NETWORK=URL with CAIP-2 names.
"""

import itertools
import json
import os
import re
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp

from pve402.client import address, errors

VARIABLE: Final = "PVE402_RPC_URL"
#: Public endpoints; the same as in the service's table of networks.
PUBLIC: Final = {
    "eip155:84532": "https://sepolia.base.org",
    "eip155:8453": "https://mainnet.base.org",
    "eip155:137": "https://polygon-bor-rpc.publicnode.com",
    "eip155:80002": "https://rpc-amoy.polygon.technology",
    "eip155:43114": "https://api.avax.network/ext/bc/C/rpc",
    "eip155:43113": "https://api.avax-test.network/ext/bc/C/rpc",
    "eip155:1": "https://ethereum-rpc.publicnode.com",
    "eip155:42161": "https://arb1.arbitrum.io/rpc",
    "eip155:421614": "https://sepolia-rollup.arbitrum.io/rpc",
    "eip155:1329": "https://evm-rpc.sei-apis.com",
    "eip155:1328": "https://evm-rpc-testnet.sei-apis.com",
    "eip155:42220": "https://forno.celo.org",
    "eip155:11142220": "https://forno.celo-sepolia.celo-testnet.org",
    "eip155:143": "https://rpc.monad.xyz",
    "eip155:10143": "https://testnet-rpc.monad.xyz",
    "eip155:50": "https://rpc.xinfin.network",
}

_LIMIT: Final = aiohttp.ClientTimeout(total=20, connect=10)
_LARGEST_BYTES: Final = 1024 * 1024  # a block's header comes with the hashes of its transactions
_AUTHORIZATION_STATE: Final = "0xe94a0102"
_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BALANCE_OF: Final = "0x70a08231"


@dataclass(frozen=True, kw_only=True)
class Look:
    """Whether a signature was used, as of a block's time."""

    is_used: bool
    at_seconds: int


class Chain:
    """One network; use it with `async with`. Its calls raise ChainUnreadable."""

    def __init__(self, network: str, url: str | None = None) -> None:
        """Take a CAIP-2 name, and an endpoint if it is not the usual one."""
        self.network = network
        self._url = url or endpoint(network)
        self._numbers = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Connect, and make sure that it is this network."""
        if self._url is None:
            raise self._unreadable(f"there is no endpoint for it; set {VARIABLE}")
        self._session = aiohttp.ClientSession(timeout=_LIMIT)
        try:
            if f"eip155:{self._quantity(await self._call('eth_chainId'))}" != self.network:
                raise self._unreadable("the endpoint is of another network")
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.close()

    async def balance(self, asset: str, holder: str) -> int:
        """What an address owns, in atomic units."""
        return self._quantity(await self._ask(asset, _BALANCE_OF + _word(holder), "latest"))

    async def look(self, asset: str, payer: str, nonce: str) -> Look:
        """Whether an EIP-3009 authorization was used or cancelled, as of the newest block."""
        block = await self._call("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, dict):
            raise self._unreadable("its endpoint gave no usable answer")
        data = _AUTHORIZATION_STATE + _word(payer) + _word(nonce)
        state = self._quantity(await self._ask(asset, data, str(block.get("number"))))
        return Look(is_used=state != 0, at_seconds=self._quantity(block.get("timestamp")))

    async def _ask(self, contract: str, data: str, block: str) -> Any:
        return await self._call("eth_call", {"to": contract, "data": data}, block)

    async def _call(self, method: str, *params: Any) -> Any:
        """Call a method. Raises ChainUnreadable."""
        if self._session is None or self._url is None:
            raise RuntimeError("use the chain with `async with`")
        call = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        try:
            async with self._session.post(self._url, json=call, allow_redirects=False) as reply:
                answer = json.loads(await _bounded(reply))
            return answer["result"]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreadable(address.cause(error)) from None
        except (LookupError, TypeError, ValueError, RecursionError):
            raise self._unreadable("its endpoint gave no usable answer") from None

    def _quantity(self, text: object) -> int:
        if not isinstance(text, str) or not _QUANTITY.fullmatch(text):
            raise self._unreadable("its endpoint gave no usable answer")
        return int(text, 16)

    def _unreadable(self, reason: str) -> errors.ChainUnreadable:
        return errors.ChainUnreadable(f"{errors.plain(self.network, 64)}: {reason}")


def endpoint(network: str) -> str | None:
    """The endpoint for a network; None if there is none."""
    for entry in os.environ.get(VARIABLE, "").split(","):
        name, separator, url = entry.strip().partition("=")
        if not separator or not name.startswith("eip155:"):
            name, url = network, entry.strip()
        if name == network and url:
            return url
    return PUBLIC.get(network)


def caip2(network: str) -> str:
    """The CAIP-2 name of a network that is named as in x402 version 1."""
    from x402.mechanisms.evm.v1.constants import V1_NETWORK_CHAIN_IDS  # noqa: PLC0415 -- a second

    known = V1_NETWORK_CHAIN_IDS.get(network)
    return network if known is None else f"eip155:{known}"


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in reply.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_BYTES:
            raise ValueError("too large")
    return bytes(body)


def _word(text: str) -> str:
    """An address or 32 bytes as a word of call data."""
    return text.lower().removeprefix("0x").rjust(64, "0")
