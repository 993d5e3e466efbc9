"""Bearer tokens for Coinbase's facilitator: a JWT per request, signed with the operator's API key.

Claims and header match Coinbase's own SDKs (`cdp.auth.utils.jwt` of coinbase/cdp-sdk): issuer
`cdp`, the key's id as subject and `kid`, `uris` with method, host and path, a lifetime of two
minutes, and a nonce in the header. A key is base64 of 64 bytes (Ed25519) or PEM (P-256).
"""

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

LIFETIME_SECONDS: Final = 120

_PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, kw_only=True, slots=True)
class CdpKey:
    """An API key of the Coinbase Developer Platform."""

    key_id: str
    secret: str = field(repr=False)


class CdpAuth:
    """Creates the Authorization header for each request."""

    def __init__(self, key: CdpKey, *, now_seconds: Callable[[], float]) -> None:
        """Read the key.

        Raises:
            ValueError: the secret is of neither kind. The message does not repeat it.
        """
        self._key_id = key.key_id
        self._private_key = _load(key.secret)
        self._now_seconds = now_seconds

    def header(self, method: str, url: str) -> str:
        """Return the Authorization header's value for one request."""
        target = urlsplit(url)
        now = int(self._now_seconds())
        algorithm = "EdDSA" if isinstance(self._private_key, ed25519.Ed25519PrivateKey) else "ES256"
        head = {
            "alg": algorithm,
            "kid": self._key_id,
            "typ": "JWT",
            "nonce": secrets.token_hex(8),
        }
        claims = {
            "sub": self._key_id,
            "iss": "cdp",
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
            "uris": [f"{method} {target.netloc}{target.path}"],
        }
        signed = f"{_part(head)}.{_part(claims)}"
        return f"Bearer {signed}.{_base64url(self._sign(signed.encode()))}"

    def _sign(self, message: bytes) -> bytes:
        if isinstance(self._private_key, ed25519.Ed25519PrivateKey):
            return self._private_key.sign(message)
        r, s = utils.decode_dss_signature(
            self._private_key.sign(message, ec.ECDSA(hashes.SHA256()))
        )
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")  # JWS needs the raw pair, not DER


def _load(secret: str) -> _PrivateKey:
    text = secret.replace("\\n", "\n").strip()  # settings often hold PEM on one line
    if text.startswith("-----BEGIN"):
        return _load_pem(text)
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("the CDP key secret is neither PEM nor base64") from None
    if len(raw) != 64:
        raise ValueError("a CDP Ed25519 key secret is 64 bytes: the seed and the public key")
    return ed25519.Ed25519PrivateKey.from_private_bytes(raw[:32])


def _load_pem(text: str) -> _PrivateKey:
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the CDP key secret is not a readable PEM key") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("a CDP key in PEM form must be an EC key on P-256")


def _part(document: dict[str, Any]) -> str:
    return _base64url(json.dumps(document, separators=(",", ":")).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
