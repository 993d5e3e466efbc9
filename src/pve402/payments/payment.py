"""The two values that all other payment modules use: Requirements and Payment.

`Requirements` is what we ask for, `Payment` is one signed authorization that answers it. Both wire
versions, x402 v1 and v2, are read into these types and written from them.
"""

import json
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Self

from pve402.payments import addresses, errors, extensions, fields, networks

WINDOW_MARGIN_SECONDS: Final = 120
"""How far validBefore may lie beyond `max_timeout_seconds`. The payer's clock may be ahead, but an
order with an unknown outcome stays open until validBefore."""

Version = Literal[1, 2]


class PaymentKey(NamedTuple):
    """The identity of a payment: a token accepts each (payer, nonce) once per network.

    All four fields are canonical (CAIP-2 id, lower-case hex), so equal payments have equal keys.
    """

    network: str
    asset: str
    payer: str
    nonce: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirements:
    """The payment terms of one route on one network."""

    network: str
    """CAIP-2 id."""
    amount_atomic: int
    """Exact amount in atomic units of the asset; at least one."""
    pay_to: str
    """Our address, lower case."""
    max_timeout_seconds: int
    """How long the authorization must be valid; covers the slowest work before settlement."""
    resource_url: str
    scheme: str = "exact"
    speaks_v1: bool = True
    """Whether the facilitator accepts x402 v1 payments."""
    description: str = ""
    mime_type: str = "application/json"
    asset: str = ""
    """Token contract, lower case; empty means the network's own stablecoin."""
    asset_name: str = ""
    """EIP-712 domain name of the asset; empty means the network's stablecoin's."""
    asset_version: str = ""
    output_schema_json: str | None = None
    """The v1 `outputSchema` as JSON text, so that the terms are hashable and can be cached."""
    declared: extensions.Declared | None = None
    """What x402 v2 tells clients and catalogues about the resource."""

    def __post_init__(self) -> None:
        """Fill in the network's token and normalize addresses.

        Raises:
            UnknownNetwork: the network is not in the table.
            ValueError: no payment could match an address or number.
        """
        chain = networks.resolve(self.network)
        if not 1 <= self.amount_atomic <= fields.UINT256_MAX:
            raise ValueError("amount_atomic must be at least one atomic unit")
        if self.max_timeout_seconds < 1:
            raise ValueError("max_timeout_seconds must be positive")
        default_asset = not self.asset or self.asset.lower() == chain.asset.lower()
        if not default_asset and not (self.asset_name and self.asset_version):
            raise ValueError("a custom asset needs asset_name and asset_version")
        _set(self, "network", chain.caip2)
        _set(self, "pay_to", addresses.normalize(self.pay_to))
        _set(self, "asset", addresses.normalize(self.asset or chain.asset))
        _set(self, "asset_name", self.asset_name or chain.asset_name)
        _set(self, "asset_version", self.asset_version or chain.asset_version)

    @property
    def chain(self) -> networks.Network:
        """Return the network's row in the table."""
        return networks.BY_CAIP2[self.network]

    @property
    def longest_window_seconds(self) -> int:
        """Return how far ahead a payment's validBefore may lie, in seconds."""
        return self.max_timeout_seconds + WINDOW_MARGIN_SECONDS

    @property
    def extra(self) -> dict[str, str]:
        """Return the scheme's extra terms: the EIP-712 domain for the payer's signature."""
        return {"name": self.asset_name, "version": self.asset_version}

    @property
    def v1_network(self) -> str | None:
        """Return the v1 name, or None if v1 cannot express these terms.

        A v1 payment names no asset, so v1 terms can only use the network's own stablecoin.
        """
        chain = self.chain
        is_named = self.speaks_v1 and chain.v1 and self.asset == chain.asset.lower()
        return chain.name if is_named else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """A signed payment, read from either wire version by its scheme.

    The signature covers every field except `version`, which selects the form of our answer, and
    `scheme`. Addresses and nonce are lower-case hex. We drop the payer's route, resource and
    extensions, because the signature does not cover them.
    """

    version: Version
    network: str
    asset: str
    payer: str
    pay_to: str
    amount_atomic: int
    valid_after: int
    """Unix seconds; the token accepts the transfer only after this time."""
    valid_before: int
    """Unix seconds; the token accepts the transfer only before this time."""
    nonce: str
    scheme: str = "exact"
    signature: str = field(repr=False)
    """`0x` and hex: 65 bytes from a key, any length from a contract. Money until settled."""

    @property
    def key(self) -> PaymentKey:
        """Return the identity of this payment; unique in the order table."""
        return PaymentKey(self.network, self.asset, self.payer, self.nonce)

    @property
    def signature_bytes(self) -> bytes:
        """Return the signature as bytes."""
        return bytes.fromhex(self.signature[2:])

    def to_json(self) -> str:
        """Serialize for storage. The text is money: encrypt it, and erase it once settled."""
        return json.dumps({name: getattr(self, name) for name in _FIELDS}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the text from `to_json`.

        Raises:
            PaymentMalformed: the text is not a stored payment.
        """
        try:
            stored = {"scheme": "exact", **json.loads(text)}  # older rows have no scheme
            return cls(**{name: stored[name] for name in _FIELDS})
        except (ValueError, KeyError, TypeError):
            raise errors.PaymentMalformed(
                errors.Code.MALFORMED, "the stored payment cannot be read"
            ) from None


_FIELDS: Final = (
    "version",
    "scheme",
    "network",
    "asset",
    "payer",
    "pay_to",
    "amount_atomic",
    "valid_after",
    "valid_before",
    "nonce",
    "signature",
)


def match(payment: Payment, requirements: Requirements) -> None:
    """Check that the payment matches these terms exactly. Ignores time and signature.

    Raises:
        PaymentRejected: with the code of the first difference.
    """
    if payment.network != requirements.network:
        raise errors.PaymentRejected(
            errors.Code.NETWORK_NOT_ACCEPTED, "this network is not accepted here"
        )
    if payment.asset != requirements.asset:
        raise errors.PaymentRejected(
            errors.Code.ASSET_MISMATCH, "the payment is in a different asset than requested"
        )
    if payment.pay_to != requirements.pay_to:
        raise errors.PaymentRejected(
            errors.Code.RECIPIENT_MISMATCH, "the payment goes to a different address than requested"
        )
    if payment.amount_atomic != requirements.amount_atomic:
        raise errors.PaymentRejected(
            errors.Code.AMOUNT_MISMATCH,
            f"the price is {requirements.amount_atomic} atomic units, "
            f"the payment is {payment.amount_atomic}",
        )


def _set(target: Requirements, name: str, value: object) -> None:
    object.__setattr__(target, name, value)
