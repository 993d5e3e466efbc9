"""Accounts by their CAIP-10 name: `eip155:84532:0x...`.

An EVM key is the same account on every EVM chain. A contract is an account on its own chain only:
somebody else can hold the same address on another.
"""

from dataclasses import dataclass
from typing import Self

from pve402.payments import addresses, networks


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One account on one network."""

    network: str
    """CAIP-2 id."""
    address: str
    """Lower case."""

    @classmethod
    def parse(cls, caip10: str) -> Self:
        """Read a CAIP-10 name.

        Raises:
            ValueError: it is not one. The text does not repeat the input.
            UnknownNetwork: its network is not in the table.
        """
        network, _colon, address = caip10.rpartition(":")
        return cls(network=networks.resolve(network).caip2, address=addresses.normalize(address))

    @property
    def caip10(self) -> str:
        """The name in storage: lower case, so that equal accounts compare equal."""
        return f"{self.network}:{self.address}"

    @property
    def shown(self) -> str:
        """The name in answers: the address in EIP-55 form."""
        return f"{self.network}:{addresses.checksum(self.address)}"
