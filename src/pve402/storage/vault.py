"""Keys derived from the installation's one secret, and their uses.

Each purpose has its own key (HKDF-SHA256, RFC 5869), so a value made for one is useless for
another. Sealing is AES-256-GCM with a random nonce; the row's id is authenticated too, so that a
sealed value moved to another row does not open.
"""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


class SealBrokenError(Exception):
    """The sealed value was made with another secret key or for another row, or was altered."""


class Vault:
    """Seals values at rest, hashes values that are only compared, derives lease tokens."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 32:
            raise ValueError("the secret key needs at least 32 bytes")
        self._secret = secret
        self._cipher = AESGCM(self.key("seal"))
        self._token_key = self.key("lease token")
        self._hash_key = self.key("hash")

    def key(self, purpose: str) -> bytes:
        """Return the 32-byte key of a purpose."""
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=b"pve402", info=purpose.encode())
        return derive.derive(self._secret)

    def seal(self, value: bytes, bound_to: str) -> bytes:
        """Encrypt a value so that it opens only for the same row."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, bound_to.encode())

    def unseal(self, sealed: bytes, bound_to: str) -> bytes:
        """Decrypt a value; raises SealBrokenError if it was not sealed for this row."""
        try:
            nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, body, bound_to.encode())
        except (InvalidTag, ValueError) as error:
            raise SealBrokenError from error

    def lease_token(self, order_id: str) -> str:
        """Return the access token of the lease that an order created: 256 bits, not stored.

        It is derived, so that any process can return it to the tenant, even after a crash, without
        a secret in the table; the table holds its hash and decides whether it is valid.
        """
        digest = hmac.new(self._token_key, order_id.encode(), hashlib.sha256)
        return f"pve402_{digest.hexdigest()}"

    def idempotency_hash(self, owner: str, route: str, key: str) -> str:
        """Return the stored form of an Idempotency-Key: keyed, and scoped to owner and route."""
        text = f"{len(owner)}:{owner}{len(route)}:{route}{key}"
        return hmac.new(self._hash_key, text.encode(), hashlib.sha256).hexdigest()


def token_hash(token: str) -> str:
    """Return the stored form of a token: a plain hash, since tokens have 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()
