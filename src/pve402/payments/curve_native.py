"""secp256k1 by coincurve."""

import coincurve


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
