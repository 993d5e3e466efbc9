"""The EVM networks that we support for x402 payments, and the stablecoin of each.

x402 v1 uses network names (`base-sepolia`), v2 uses CAIP-2 ids (`eip155:84532`). Inside the program
we use CAIP-2 ids. The token data comes from the official SDK's tables
(`x402.mechanisms.evm.default_assets`, `x402.mechanisms.evm.v1.constants`), without the tokens that
do not support EIP-3009. The EIP-712 name must match the token's `name()`, which varies: USDC is
called "USD Coin" on Base and "USDC" on Base Sepolia. Titles, currencies and explorers are those of
viem's table of chains (`viem/chains`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pve402.payments import errors

PUBLIC_FACILITATOR_URL: Final = "https://www.x402.org/facilitator"
"""Without `www.`, it redirects with a 308."""
CDP_FACILITATOR_URL: Final = "https://api.cdp.coinbase.com/platform/v2/x402"


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """An EVM chain and the token for payments on it."""

    name: str
    """Short name for settings and people; also the x402 v1 name if `v1` is set."""
    title: str
    """Its own name, for people and their wallets."""
    chain_id: int
    explorer_url: str
    """Where people look at a transaction, under `/tx/HASH`."""
    asset: str
    """Contract address of the token, in EIP-55 form."""
    asset_name: str
    """EIP-712 domain name of the token."""
    asset_version: str = "2"
    """EIP-712 domain version of the token."""
    currency: str = "ETH"
    """Symbol of the coin that fees of the chain are paid in; it has 18 decimals."""
    symbol: str = "USDC"
    decimals: int = 6
    v1: bool = False
    """Whether x402 v1 has a name for it."""
    rpc_url: str | None = field(default=None, repr=False)
    """Public RPC endpoint; if None, the operator must set one."""
    facilitator_url: str | None = None
    """Default facilitator; if None, the operator must set one or use the embedded one."""

    @property
    def caip2(self) -> str:
        """Return the CAIP-2 id, such as `eip155:8453`."""
        return f"eip155:{self.chain_id}"


_CDP = CDP_FACILITATOR_URL

NETWORKS: Final[tuple[Network, ...]] = (
    Network(
        name="base-sepolia",
        title="Base Sepolia",
        chain_id=84532,
        explorer_url="https://sepolia.basescan.org",
        asset="0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        asset_name="USDC",
        v1=True,
        rpc_url="https://sepolia.base.org",
        facilitator_url=PUBLIC_FACILITATOR_URL,
    ),
    Network(
        name="base",
        title="Base",
        chain_id=8453,
        explorer_url="https://basescan.org",
        asset="0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        asset_name="USD Coin",
        v1=True,
        rpc_url="https://mainnet.base.org",
        facilitator_url=_CDP,
    ),
    Network(
        name="polygon",
        title="Polygon",
        chain_id=137,
        currency="POL",
        explorer_url="https://polygonscan.com",
        asset="0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359",
        asset_name="USD Coin",
        v1=True,
        rpc_url="https://polygon-bor-rpc.publicnode.com",
        facilitator_url=_CDP,
    ),
    Network(
        name="polygon-amoy",
        title="Polygon Amoy",
        chain_id=80002,
        currency="POL",
        explorer_url="https://amoy.polygonscan.com",
        asset="0x41E94Eb019C0762f9Bfcf9Fb1E58725BfB0e7582",
        asset_name="USDC",
        v1=True,
        rpc_url="https://rpc-amoy.polygon.technology",
    ),
    Network(
        name="avalanche",
        title="Avalanche",
        chain_id=43114,
        currency="AVAX",
        explorer_url="https://snowtrace.io",
        asset="0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E",
        asset_name="USD Coin",
        v1=True,
        rpc_url="https://api.avax.network/ext/bc/C/rpc",
    ),
    Network(
        name="avalanche-fuji",
        title="Avalanche Fuji",
        chain_id=43113,
        currency="AVAX",
        explorer_url="https://testnet.snowtrace.io",
        asset="0x5425890298aed601595a70AB815c96711a31Bc65",
        asset_name="USD Coin",
        v1=True,
        rpc_url="https://api.avax-test.network/ext/bc/C/rpc",
    ),
    Network(
        name="ethereum",
        title="Ethereum",
        chain_id=1,
        explorer_url="https://etherscan.io",
        asset="0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
        asset_name="USD Coin",
        rpc_url="https://ethereum-rpc.publicnode.com",
    ),
    Network(
        name="arbitrum",
        title="Arbitrum One",
        chain_id=42161,
        explorer_url="https://arbiscan.io",
        asset="0xaf88d065e77c8cC2239327C5EDb3A432268e5831",
        asset_name="USD Coin",
        rpc_url="https://arb1.arbitrum.io/rpc",
        facilitator_url=_CDP,
    ),
    Network(
        name="arbitrum-sepolia",
        title="Arbitrum Sepolia",
        chain_id=421614,
        explorer_url="https://sepolia.arbiscan.io",
        asset="0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d",
        asset_name="USD Coin",
        rpc_url="https://sepolia-rollup.arbitrum.io/rpc",
    ),
    Network(
        name="sei",
        title="Sei Network",
        chain_id=1329,
        currency="SEI",
        explorer_url="https://seiscan.io",
        asset="0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392",
        asset_name="USDC",
        v1=True,
        rpc_url="https://evm-rpc.sei-apis.com",
    ),
    Network(
        name="sei-testnet",
        title="Sei Testnet",
        chain_id=1328,
        currency="SEI",
        explorer_url="https://testnet.seiscan.io",
        asset="0x4fCF1784B31630811181f670Aea7A7bEF803eaED",
        asset_name="USDC",
        v1=True,
        rpc_url="https://evm-rpc-testnet.sei-apis.com",
    ),
    Network(
        name="celo",
        title="Celo",
        chain_id=42220,
        currency="CELO",
        explorer_url="https://celoscan.io",
        asset="0xcebA9300f2b948710d2653dD7B07f33A8B32118C",
        asset_name="USDC",
        v1=True,
        rpc_url="https://forno.celo.org",
    ),
    Network(
        name="celo-sepolia",
        title="Celo Sepolia Testnet",
        chain_id=11142220,
        currency="S-CELO",
        explorer_url="https://celo-sepolia.blockscout.com",
        asset="0x01C5C0122039549AD1493B8220cABEdD739BC44E",
        asset_name="USDC",
        rpc_url="https://forno.celo-sepolia.celo-testnet.org",
    ),
    Network(
        name="monad",
        title="Monad",
        chain_id=143,
        currency="MON",
        explorer_url="https://monadscan.com",
        asset="0x754704Bc059F8C67012fEd69BC8A327a5aafb603",
        asset_name="USDC",
        v1=True,
        rpc_url="https://rpc.monad.xyz",
        facilitator_url=_CDP,
    ),
    Network(
        name="monad-testnet",
        title="Monad Testnet",
        chain_id=10143,
        currency="MON",
        explorer_url="https://testnet.monadexplorer.com",
        asset="0x534b2f3A21130d7a60830c2Df862319e593943A3",
        asset_name="USDC",
        v1=True,
        rpc_url="https://testnet-rpc.monad.xyz",
    ),
    Network(
        name="xdc",
        title="XDC Network",
        chain_id=50,
        currency="XDC",
        explorer_url="https://xdcscan.com",
        asset="0xfA2958CB79b0491CC627c1557F441eF849Ca8eb1",
        asset_name="USDC",
        rpc_url="https://rpc.xinfin.network",
    ),
)

V1_EVERYWHERE: Final = frozenset({"base", "base-sepolia", "avalanche", "avalanche-fuji"})
"""Names that every v1 client knows. Python's x402 1.0 rejects a whole offer over any other name."""

BY_CAIP2: Final[Mapping[str, Network]] = MappingProxyType({n.caip2: n for n in NETWORKS})
BY_NAME: Final[Mapping[str, Network]] = MappingProxyType({n.name: n for n in NETWORKS})


def resolve(name_or_caip2: str) -> Network:
    """Find a network by its short name (`base`) or CAIP-2 id (`eip155:8453`).

    Raises:
        UnknownNetwork: not in the table; the message lists the known ones for the operator.
    """
    wanted = name_or_caip2.strip().lower()
    found = BY_NAME.get(wanted) or BY_CAIP2.get(wanted)
    if found is None:
        known = ", ".join(BY_NAME)
        raise errors.UnknownNetwork(
            f"network {name_or_caip2[:64]!r} is not known; use one of {known}, "
            f"or its CAIP-2 id such as {NETWORKS[0].caip2}"
        )
    return found


def resolve_v1(name: str) -> Network | None:
    """Find a network by its exact x402 v1 name."""
    found = BY_NAME.get(name)
    return found if found and found.v1 else None
