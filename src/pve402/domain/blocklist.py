"""Whom the operator sells nothing to: wallets, and ranges of client addresses.

Each rule blocks or allows one subject: a wallet's address, a range of IP addresses, or `*` for all
wallets. The most specific rule decides, so `*` with some allowed wallets sells only to these, and a
blocked range can have exceptions. Without a matching rule, the subject may buy.
"""

import dataclasses
import ipaddress
import re
from collections.abc import Iterable
from enum import Enum

EVERY_WALLET = "*"
_MAPPED_BITS = 96
_WALLET = re.compile(r"0x[0-9a-fA-F]{40}")

Range = ipaddress.IPv4Network | ipaddress.IPv6Network


class Effect(Enum):
    """What a rule does; the values are stored and must not change."""

    BLOCK = "block"
    ALLOW = "allow"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """One decision of the operator, for a subject in its canonical form."""

    subject: str
    effect: Effect
    reason: str = ""


def canonical(text: str) -> str:
    """Return the canonical form of a subject. Raises ValueError if it is none."""
    text = text.strip()
    if text == EVERY_WALLET:
        return text
    if _WALLET.fullmatch(text):
        return text.lower()
    try:
        return str(_plain(ipaddress.ip_network(text, strict=False)))
    except ValueError:
        raise ValueError(
            "must be a wallet (0x and 40 hex digits), an address, a range such as 203.0.113.0/24,"
            " or * for all wallets"
        ) from None


def _plain(found: Range) -> Range:
    """Return the IPv4 range that an IPv6 one maps, since clients are known by that."""
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    if mapped is None or found.prefixlen < _MAPPED_BITS:
        return found
    return ipaddress.ip_network(f"{mapped}/{found.prefixlen - _MAPPED_BITS}")


class Blocklist:
    """All rules, ready to decide."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._wallets: dict[str, Rule] = {}
        self._ranges: dict[Range, Rule] = {}
        for rule in rules:
            if rule.subject == EVERY_WALLET or _WALLET.fullmatch(rule.subject):
                self._wallets[rule.subject] = rule
            else:
                self._ranges[ipaddress.ip_network(rule.subject)] = rule

    def blocks_wallet(self, address: str) -> bool:
        """Return whether a wallet (an EVM address) may buy nothing."""
        rule = self._wallets.get(address.lower()) or self._wallets.get(EVERY_WALLET)
        return rule is not None and rule.effect is Effect.BLOCK

    def blocks_address(self, party: str) -> bool:
        """Return whether a client address, or an IPv6 subnet of clients, may buy nothing."""
        if not self._ranges:
            return False
        try:
            asked = ipaddress.ip_network(party)
        except ValueError:
            return False
        matching = [known for known in self._ranges if _contains(known, asked)]
        if not matching:
            return False
        nearest = max(matching, key=lambda known: known.prefixlen)
        return self._ranges[nearest].effect is Effect.BLOCK


def _contains(outer: Range, inner: Range) -> bool:
    """Whether a range covers a client; a range within an IPv6 client's subnet covers it, too."""
    return outer.version == inner.version and outer.overlaps(inner)
