"""The x402 extension `sign-in-with-x`: a wallet proves itself in the header SIGN-IN-WITH-X.

The 402 holds what the text to sign consists of, and the client sends the same fields back with its
address and signature, never the text. It is the text of EIP-4361, as in our own challenges. Signing
in says who calls, and nothing else: what was once paid for gives no right to anything.
"""

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

EXTENSION: Final = "sign-in-with-x"
HEADER: Final = "sign-in-with-x"
MAX_HEADER_CHARACTERS: Final = 16 * 1024

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_NONCE: Final = re.compile(r"[0-9a-f]{56}", re.ASCII)
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_UNUSED: Final = ("notBefore", "requestId", "resources")


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What we ask a wallet to sign; it may be any wallet."""

    domain: str
    uri: str
    statement: str
    nonce: str
    issued_at: str
    expires_at: str

    def info(self) -> dict[str, str]:
        """Return the fields as they stand in the 402."""
        return {
            "domain": self.domain,
            "uri": self.uri,
            "version": "1",
            "statement": self.statement,
            "nonce": self.nonce,
            "issuedAt": self.issued_at,
            "expirationTime": self.expires_at,
        }

    def extension(self, network: str) -> str:
        """Return the extension's JSON; clients sign for the network that they are offered first."""
        chains = [{"chainId": network, "type": "eip191"}]
        document = {"info": self.info(), "supportedChains": chains, "schema": {"type": "object"}}
        return _encode(document)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A header's content. Nothing of it is checked but its form."""

    info: Mapping[str, Any]
    network: str
    address: str
    """As it stands in the text, in any case."""
    nonce: str
    issued_at: datetime
    expires_at: datetime
    signature: str

    def answers(self, offer: Offer) -> bool:
        """Whether all fields are still those of an offer."""
        return all(self.info.get(name) == value for name, value in offer.info().items())


def read(header: str) -> Signed | None:
    """Read the header SIGN-IN-WITH-X; None if it is not one that our 402 leads to."""
    try:
        document = json.loads(binascii.a2b_base64(header[:MAX_HEADER_CHARACTERS], strict_mode=True))
        texts = {name: value for name, value in document.items() if isinstance(value, str)}
        if any(document.get(name) is not None for name in _UNUSED) or texts["type"] != "eip191":
            return None
        return _signed(texts)
    except (ValueError, KeyError, AttributeError, RecursionError):
        return None


def _signed(texts: Mapping[str, str]) -> Signed | None:
    if not _ADDRESS.fullmatch(texts["address"]) or not _NONCE.fullmatch(texts["nonce"]):
        return None
    return Signed(
        info=texts,
        network=texts["chainId"],
        address=texts["address"],
        nonce=texts["nonce"],
        issued_at=_time(texts["issuedAt"]),
        expires_at=_time(texts["expirationTime"]),
        signature=texts["signature"],
    )


def written(moment: datetime) -> str:
    """Return a whole second of UTC as the texts have it."""
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
