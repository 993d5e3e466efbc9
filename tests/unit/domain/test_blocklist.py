"""Whom the operator sells nothing to: the most specific rule decides."""

import pytest

from pve402.domain import blocklist

WALLET = "0x" + "aB" * 20
BLOCK, ALLOW = blocklist.Effect.BLOCK, blocklist.Effect.ALLOW


def rules(*pairs: tuple[str, blocklist.Effect]) -> blocklist.Blocklist:
    """A list with these rules."""
    made = [
        blocklist.Rule(subject=blocklist.canonical(subject), effect=effect)
        for subject, effect in pairs
    ]
    return blocklist.Blocklist(made)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (WALLET, WALLET.lower()),
        (" * ", "*"),
        ("203.0.113.7", "203.0.113.7/32"),
        ("203.0.113.7/24", "203.0.113.0/24"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("2001:db8::1/48", "2001:db8::/48"),
        ("::ffff:203.0.113.5", "203.0.113.5/32"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
    ],
)
def test_a_subject_has_one_form(text: str, known: str) -> None:
    assert blocklist.canonical(text) == known


@pytest.mark.parametrize(
    "text", ["", "0x12", "0x" + "g" * 40, "300.0.0.1", "10.0.0.0/33", "example.com", "**", "1"]
)
def test_anything_else_is_no_subject(text: str) -> None:
    with pytest.raises(ValueError, match="wallet"):
        blocklist.canonical(text)


@pytest.mark.parametrize(
    ("party", "blocked"),
    [
        ("10.9.9.9", True),
        ("10.1.2.3", False),
        ("10.1.9.9", True),
        ("192.0.2.1", False),
        ("2001:db8:0:1::/64", True),
        ("2001:db8:0:2::/64", False),
        ("2001:db8:0:3::/64", True),
        ("not an address", False),
    ],
)
def test_the_most_specific_range_decides(party: str, blocked: bool) -> None:
    known = rules(
        ("10.0.0.0/8", BLOCK),
        ("10.1.0.0/16", ALLOW),
        ("10.1.9.0/24", BLOCK),
        ("2001:db8::/48", BLOCK),
        ("2001:db8:0:2::/64", ALLOW),
    )

    assert known.blocks_address(party) is blocked


def test_an_address_within_an_ipv6_clients_subnet_blocks_the_client() -> None:
    known = rules(("2001:db8::5", BLOCK))

    assert known.blocks_address("2001:db8::/64")


@pytest.mark.parametrize("spelled", [WALLET, WALLET.lower(), WALLET.upper().replace("0X", "0x")])
def test_all_wallets_but_some(spelled: str) -> None:
    known = rules(("*", BLOCK), (WALLET, ALLOW))

    assert not known.blocks_wallet(spelled)
    assert known.blocks_wallet("0x" + "01" * 20)


def test_without_rules_everybody_may_buy() -> None:
    assert not rules().blocks_wallet(WALLET)
    assert not rules().blocks_address("10.0.0.1")
