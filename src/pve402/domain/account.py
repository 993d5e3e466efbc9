"""Accounts: CAIP-10, `eip155:<chain id>:<address>`, stored in lower case."""

import re
from collections.abc import Iterable

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ACCOUNT = re.compile(r"(eip155:[1-9][0-9]{0,17}):(0x[0-9a-f]{40})")


def account(network: str, address: str) -> str:
    """Return the CAIP-10 account of an EVM address on a CAIP-2 network.

    Raises ValueError if the address is not 0x and 20 bytes in hex.
    """
    if not _ADDRESS.fullmatch(address):
        raise ValueError("an EVM address is 0x and 40 hex digits")
    return f"{network}:{address.lower()}"


def split(caip10: str) -> tuple[str, str]:
    """Return the CAIP-2 network and the lower-case address of an account.

    Raises ValueError if it is not an `eip155` account.
    """
    match = _ACCOUNT.fullmatch(caip10)
    if not match:
        raise ValueError("not a CAIP-10 account in the eip155 namespace")
    return match[1], match[2]


def address_of(caip10: str) -> str:
    """Return the lower-case address of an account."""
    return split(caip10)[1]


def is_same(one: str, other: str, *, any_chain: bool) -> bool:
    """Return whether two accounts belong to the same owner.

    The same address on another chain is the same owner only if a key controls it; a contract wallet
    may have a different owner there.
    """
    return one == other or (any_chain and address_of(one) == address_of(other))


def on_networks(caip10: str, networks: Iterable[str]) -> list[str]:
    """Return the address's accounts on these networks, including the given one."""
    own, address = split(caip10)
    return [f"{network}:{address}" for network in dict.fromkeys([own, *networks])]
