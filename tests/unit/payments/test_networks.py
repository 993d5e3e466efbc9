"""The table of networks, held against the official SDK's tables."""

import pytest
from x402.mechanisms.evm.default_assets import DEFAULT_ASSETS
from x402.mechanisms.evm.v1.constants import V1_NETWORK_CHAIN_IDS, V1_NETWORKS

from pve402.payments import addresses, errors, networks


@pytest.mark.parametrize(
    ("name", "caip2", "asset_name"),
    [
        ("base", "eip155:8453", "USD Coin"),
        ("base-sepolia", "eip155:84532", "USDC"),
        ("avalanche", "eip155:43114", "USD Coin"),
    ],
)
def test_a_network_is_found_by_name_and_by_caip2(name: str, caip2: str, asset_name: str) -> None:
    found = networks.resolve(name)

    assert found is networks.resolve(caip2)
    assert (found.caip2, found.asset_name) == (caip2, asset_name)


@pytest.mark.parametrize("wrong", ["", "base-mainnet", "eip155:0", "solana", "x" * 5000])
def test_an_unknown_network_says_which_are_known(wrong: str) -> None:
    with pytest.raises(errors.UnknownNetwork) as caught:
        networks.resolve(wrong)

    assert "base-sepolia" in caught.value.detail
    assert len(caught.value.detail) < 600


@pytest.mark.parametrize(
    "network", [n for n in networks.NETWORKS if n.caip2 in DEFAULT_ASSETS], ids=lambda n: n.name
)
def test_the_token_is_the_one_that_the_sdk_pays_by_default(network: networks.Network) -> None:
    official = DEFAULT_ASSETS[network.caip2][0]

    ours = (network.asset, network.asset_name, network.asset_version, network.decimals)
    assert ours == tuple(official[k] for k in ("asset", "name", "version", "decimals"))
    assert "asset_transfer_method" not in official


@pytest.mark.parametrize("network", networks.NETWORKS, ids=lambda n: n.name)
def test_v1_names_are_those_of_the_sdk(network: networks.Network) -> None:
    assert network.v1 is (network.name in V1_NETWORKS)
    assert V1_NETWORK_CHAIN_IDS.get(network.name, network.chain_id) == network.chain_id
    assert addresses.checksum(network.asset.lower()) == network.asset


def test_v1_takes_exact_names_only() -> None:
    assert networks.resolve_v1("base") is networks.resolve("base")
    assert networks.resolve_v1("Base") is None
    assert networks.resolve_v1("eip155:8453") is None
    assert networks.resolve_v1("ethereum") is None


def test_default_facilitators() -> None:
    assert networks.resolve("base-sepolia").facilitator_url == networks.PUBLIC_FACILITATOR_URL
    assert networks.resolve("base").facilitator_url == networks.CDP_FACILITATOR_URL


def test_eip55_examples() -> None:
    # from the test cases of EIP-55
    for shown in (
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0x52908400098527886E0F7030069857D2E4169EE7",
    ):
        assert addresses.checksum(shown.lower()) == shown


@pytest.mark.parametrize(
    "wrong", ["", "0x", "0x" + "g" * 40, "ab" * 20, "0x" + "a" * 41, "0x\u0660" * 9]
)
def test_what_is_no_address_is_refused_without_being_repeated(wrong: str) -> None:
    with pytest.raises(ValueError, match="an EVM address is") as caught:
        addresses.normalize(wrong)

    assert not wrong or wrong not in str(caught.value) or wrong == "0x"
