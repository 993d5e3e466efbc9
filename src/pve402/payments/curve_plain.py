"""secp256k1 by the plain Python of eth-keys."""

from eth_keys.backends.native.main import NativeECCBackend
from eth_keys.exceptions import BadSignature
from eth_keys.main import KeyAPI
from eth_utils.exceptions import ValidationError

_keys = KeyAPI(NativeECCBackend())
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Key:
    """One private key; it never shows itself."""

    def __init__(self, secret: bytes) -> None:
        """Read the key.

        Raises:
            ValueError: it is no number on the curve.
        """
        if not 0 < int.from_bytes(secret, "big") < _ORDER:
            raise ValueError("not a number on the curve")
        self._key = _keys.PrivateKey(secret.rjust(32, b"\0"))
        self.public_key = b"\x04" + self._key.public_key.to_bytes()

    def sign(self, message_hash: bytes) -> bytes:
        """Sign 32 bytes (RFC 6979): r, s in the lower half, and the parity of R, in 65 bytes."""
        return self._key.sign_msg_hash(message_hash).to_bytes()


def recover(message_hash: bytes, signature: bytes) -> bytes | None:
    """The uncompressed public key that signed 32 bytes so, or None if none can have."""
    try:
        signed = _keys.Signature(signature)
        return b"\x04" + signed.recover_public_key_from_msg_hash(message_hash).to_bytes()
    except (BadSignature, ValidationError):
        return None
