"""SSH public keys as OpenSSH reads them: decoded, not merely matched by a pattern.

A key that sshd cannot read locks its tenant out of a container they have paid for, so this refuses
everything that `ssh-keygen -l` refuses: truncated or mistyped text, an inner type that differs from
the outer one, bytes after the key, points that are not on their curve.

Source: `sshkey_read` and `sshkey_from_blob` of OpenSSH 9.2; RFC 4253, 5656 and 8709.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LARGEST_KEYS = 16
_LARGEST_COMMENT_CHARACTERS = 200
_RSA_BITS = range(1024, 16385)
_ED25519_BYTES = 32
_UNCOMPRESSED_POINT = 4


class BadKey(ValueError):
    """The text is not a public key that sshd accepts; says why, without quoting it."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """A NIST curve, y² = x³ - 3x + b modulo p."""

    size_bytes: int
    p: int
    b: int

    def holds(self, x: int, y: int) -> bool:
        inside = max(x, y) < self.p
        return inside and (y * y - (x * x * x - 3 * x + self.b)) % self.p == 0


# FIPS 186-4, appendix D.1.2.
_CURVES: Mapping[bytes, _Curve] = {
    b"nistp256": _Curve(
        size_bytes=32,
        p=2**256 - 2**224 + 2**192 + 2**96 - 1,
        b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    b"nistp384": _Curve(
        size_bytes=48,
        p=2**384 - 2**128 - 2**96 + 2**32 - 1,
        b=0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    b"nistp521": _Curve(
        size_bytes=66,
        p=2**521 - 1,
        b=0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    ),
}


class _Blob:
    """Reads the bytes of a key string by string (RFC 4251, section 5)."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def string(self) -> bytes:
        size = int.from_bytes(self._data[:4])
        if len(self._data) < 4 + size or len(self._data) < 4:
            raise BadKey("it is incomplete")
        taken, self._data = self._data[4 : 4 + size], self._data[4 + size :]
        return taken

    def positive_number(self) -> int:
        digits = self.string()
        if not digits or digits[0] & 0x80:
            raise BadKey("one of its numbers is damaged")
        return int.from_bytes(digits)

    def end(self) -> None:
        if self._data:
            raise BadKey("something follows the key")


def tidy(line: str) -> str:
    """Return a key as `type base64 comment`, without extra white space.

    The comment is for people: it is cut to 200 characters, and anything but printable ASCII becomes
    `?`, so that it is safe in any file and terminal.
    """
    kind, _, rest = line.strip().replace("\t", " ").partition(" ")
    body, _, comment = rest.strip().partition(" ")
    if "\n" in line.strip() or "\r" in line.strip():
        return line.strip()  # `check` refuses more than one line
    plain = "".join(
        character if " " <= character <= "~" else "?"
        for character in comment.strip()[:_LARGEST_COMMENT_CHARACTERS]
    )
    return " ".join(filter(None, (kind, body, plain)))


def check(line: str) -> None:
    """Raise BadKey unless OpenSSH reads this line, as `tidy` returns it, as a public key."""
    if not line:
        raise BadKey("it is empty")
    if "PRIVATE KEY" in line:
        raise BadKey("it is a private key; send the public one, and make a new pair")
    if "\n" in line or "\r" in line:
        raise BadKey("it has more than one line; send each key as a string of its own")
    kind, _, rest = line.partition(" ")
    read = _READERS.get(kind)
    if read is None:
        raise BadKey("it does not begin with a key type that sshd accepts")
    blob = _Blob(_decode(rest.partition(" ")[0]))
    if blob.string() != kind.encode():
        raise BadKey(f"it says {kind} but holds a key of another type")
    read(blob, kind)
    blob.end()


def _decode(text: str) -> bytes:
    """Decode base64 as strictly as OpenSSH: no byte may be written in two ways."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or base64.b64encode(data) != text.encode():
        raise BadKey("its base64 text is incomplete or mistyped")
    return data


def _read_ed25519(blob: _Blob, _: str) -> None:
    if len(blob.string()) != _ED25519_BYTES:
        raise BadKey("an Ed25519 key has 32 bytes")


def _read_rsa(blob: _Blob, _: str) -> None:
    blob.positive_number()
    if blob.positive_number().bit_length() not in _RSA_BITS:
        raise BadKey("an RSA key has 1,024 to 16,384 bits")


def _read_ecdsa(blob: _Blob, kind: str) -> None:
    name = blob.string()
    curve = _CURVES.get(name)
    if curve is None or not kind.partition("@")[0].endswith(name.decode()):
        raise BadKey("its curve is not the one of its type")
    point = blob.string()
    if len(point) != 1 + 2 * curve.size_bytes or point[0] != _UNCOMPRESSED_POINT:
        raise BadKey("its point has the wrong form")
    x, y = point[1 : 1 + curve.size_bytes], point[1 + curve.size_bytes :]
    if not curve.holds(int.from_bytes(x), int.from_bytes(y)):
        raise BadKey("its point is not on the curve: a character is mistyped")


def _read_security_key(read: Callable[[_Blob, str], None]) -> Callable[[_Blob, str], None]:
    def read_with_application(blob: _Blob, kind: str) -> None:
        read(blob, kind)
        blob.string()

    return read_with_application


_READERS: Mapping[str, Callable[[_Blob, str], None]] = {
    "ssh-ed25519": _read_ed25519,
    "ssh-rsa": _read_rsa,
    "ecdsa-sha2-nistp256": _read_ecdsa,
    "ecdsa-sha2-nistp384": _read_ecdsa,
    "ecdsa-sha2-nistp521": _read_ecdsa,
    "sk-ssh-ed25519@openssh.com": _read_security_key(_read_ed25519),
    "sk-ecdsa-sha2-nistp256@openssh.com": _read_security_key(_read_ecdsa),
}
