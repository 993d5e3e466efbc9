"""secp256k1 without coincurve: OpenSSL signs, and plain Python recovers.

Only OpenSSL handles secrets, in constant time. Recovery (SEC 1, 4.1.6) handles only public data.
Points are Jacobian: (x, y, z) means (x / z^2, y / z^3), and None means infinity.
"""

import functools

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

_FIELD = 2**256 - 2**32 - 977
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
    1,
)
_WINDOW_BITS = 4
_SIGNING = ec.ECDSA(utils.Prehashed(hashes.SHA256()), deterministic_signing=True)

_Point = tuple[int, int, int]


class Key:
    """A private key; never printed."""

    def __init__(self, secret: bytes) -> None:
        """Read the key.

        Raises:
            ValueError: the secret is not a valid key of the curve.
        """
        number = int.from_bytes(secret, "big")
        if not 0 < number < _ORDER:
            raise ValueError("not a number on the curve")
        self._key = ec.derive_private_key(number, ec.SECP256K1())
        self.public_key = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def sign(self, message_hash: bytes) -> bytes:
        """Sign 32 bytes (RFC 6979): r, s in the lower half, and the parity of R, in 65 bytes."""
        r, s = utils.decode_dss_signature(self._key.sign(message_hash, _SIGNING))
        numbers = r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")
        even = numbers + b"\0"
        return even if recover(message_hash, even) == self.public_key else numbers + b"\1"


def recover(message_hash: bytes, signature: bytes) -> bytes | None:
    """Return the uncompressed public key that made a signature, or None if there is none."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        return None
    square = (r**3 + 7) % _FIELD
    y = pow(square, (_FIELD + 1) // 4, _FIELD)
    if y * y % _FIELD != square:
        return None
    point = (r, y if y & 1 == signature[64] else _FIELD - y, 1)
    inverse = pow(r, -1, _ORDER)
    of_g = -int.from_bytes(message_hash, "big") * inverse % _ORDER
    total = _weighted_sum(of_g, s * inverse % _ORDER, point)
    return None if total is None else _uncompressed(total)


def _weighted_sum(of_g: int, of_point: int, point: _Point) -> _Point | None:
    """Compute both multiples at once, taking four bits of each number per step."""
    parts = ((_multiples_of_g(), of_g), (_multiples(point), of_point))
    total: _Point | None = None
    for shift in range(256 - _WINDOW_BITS, -1, -_WINDOW_BITS):
        for _ in range(_WINDOW_BITS):
            total = total and _double(total)
        for multiples, number in parts:
            total = _add(total, multiples[number >> shift & 2**_WINDOW_BITS - 1])
    return total


def _multiples(point: _Point) -> list[_Point | None]:
    multiples: list[_Point | None] = [None]
    for _ in range(2**_WINDOW_BITS - 1):
        multiples.append(_add(multiples[-1], point))
    return multiples


@functools.cache
def _multiples_of_g() -> list[_Point | None]:
    return _multiples(_G)


def _double(point: _Point) -> _Point:
    x, y, z = point
    xx, yy = x * x % _FIELD, y * y % _FIELD
    d = 4 * x * yy % _FIELD
    x3 = (9 * xx * xx - 2 * d) % _FIELD
    return x3, (3 * xx * (d - x3) - 8 * yy * yy) % _FIELD, 2 * y * z % _FIELD


def _add(one: _Point | None, other: _Point | None) -> _Point | None:
    if one is None or other is None:
        return one or other
    (x1, y1, z1), (x2, y2, z2) = one, other
    zz1, zz2 = z1 * z1 % _FIELD, z2 * z2 % _FIELD
    u1, s1 = x1 * zz2 % _FIELD, y1 * zz2 * z2 % _FIELD
    h, t = (x2 * zz1 - u1) % _FIELD, (y2 * zz1 * z1 - s1) % _FIELD
    if h == 0:
        return _double(one) if t == 0 else None
    hh = h * h % _FIELD
    hhh, v = h * hh % _FIELD, u1 * hh % _FIELD
    x3 = (t * t - hhh - 2 * v) % _FIELD
    return x3, (t * (v - x3) - s1 * hhh) % _FIELD, z1 * z2 * h % _FIELD


def _uncompressed(point: _Point) -> bytes:
    x, y, z = point
    inverse = pow(z, -1, _FIELD)
    square = inverse * inverse % _FIELD
    numbers = (x * square % _FIELD, y * square * inverse % _FIELD)
    return b"\x04" + b"".join(number.to_bytes(32, "big") for number in numbers)
