"""Makes secp256k1 signatures and recovers their signers.

Uses coincurve, which wraps the C library and takes about 0.05 ms. Where it has no wheels (Python
3.14 so far), OpenSSL and plain Python give the same bytes in about 6 ms.
"""

from pve402.payments import curve_plain

try:
    import coincurve
except ModuleNotFoundError:
    coincurve = None  # type: ignore[assignment]


class Key:
    """A private key; never printed."""

    def __init__(self, secret: bytes) -> None:
        """Read the key.

        Raises:
            ValueError: the secret is not a valid key of the curve.
        """
        self._key = coincurve.PrivateKey(secret)
        self.public_key = self._key.public_key.format(compressed=False)

    def sign(self, message_hash: bytes) -> bytes:
        """Sign 32 bytes (RFC 6979): r, s in the lower half, and the parity of R, in 65 bytes."""
        return self._key.sign_recoverable(message_hash, hasher=None)


def recover(message_hash: bytes, signature: bytes) -> bytes | None:
    """Return the uncompressed public key that made a signature, or None if there is none."""
    try:
        key = coincurve.PublicKey.from_signature_and_message(signature, message_hash, hasher=None)
    except Exception:  # noqa: BLE001  # coincurve raises bare Exception for an r or s off the curve
        return None
    return key.format(compressed=False)


if coincurve is None:
    Key, recover = curve_plain.Key, curve_plain.recover  # type: ignore[misc,unreachable]
