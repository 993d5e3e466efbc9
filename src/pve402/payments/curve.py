"""Signatures on secp256k1: who made one, and making one.

By coincurve, which wraps the C library, in some 0.05 ms. Where it has no wheels (Python 3.14 so
far) by OpenSSL and plain Python, which give the same bytes in some 6 ms.
"""

from pve402.payments import curve_plain

try:
    import coincurve
except ModuleNotFoundError:
    coincurve = None  # type: ignore[assignment]


class Key:
    """One private key; it never shows itself."""

    def __init__(self, secret: bytes) -> None:
        """Read the key.

        Raises:
            ValueError: it is no number on the curve.
        """
        self._key = coincurve.PrivateKey(secret)
        self.public_key = self._key.public_key.format(compressed=False)

    def sign(self, message_hash: bytes) -> bytes:
        """Sign 32 bytes (RFC 6979): r, s in the lower half, and the parity of R, in 65 bytes."""
        return self._key.sign_recoverable(message_hash, hasher=None)


def recover(message_hash: bytes, signature: bytes) -> bytes | None:
    """The uncompressed public key that signed 32 bytes so, or None if none can have."""
    try:
        key = coincurve.PublicKey.from_signature_and_message(signature, message_hash, hasher=None)
    except Exception:  # noqa: BLE001  # coincurve raises bare Exception for an r or s off the curve
        return None
    return key.format(compressed=False)


if coincurve is None:
    Key, recover = curve_plain.Key, curve_plain.recover  # type: ignore[misc,unreachable]
