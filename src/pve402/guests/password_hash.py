"""Password hashes for /etc/shadow: SHA-512 crypt, which both glibc and musl support.

Specified in "Unix crypt using SHA-256 and SHA-512" (Ulrich Drepper); 5,000 rounds, its default.
Python 3.13 removed the standard crypt module.
"""

import hashlib
import secrets

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SALT_LENGTH = 16
_ROUNDS = 5000
_TRIPLES = [(22 * i % 63, (22 * i + 21) % 63, (22 * i + 42) % 63) for i in range(21)]


def hash_password(password: str, salt: str | None = None) -> str:
    """Return the shadow field of a password, with a new salt unless one is given."""
    chosen = salt or "".join(secrets.choice(_ALPHABET) for _ in range(_SALT_LENGTH))
    digest = _digest(password.encode(), chosen.encode())
    return f"$6${chosen}${_encode(digest)}"


def _digest(password: bytes, salt: bytes) -> bytes:
    result = _first_digest(password, salt)
    password_bytes = _stretch(hashlib.sha512(password * len(password)).digest(), len(password))
    salt_bytes = _stretch(hashlib.sha512(salt * (16 + result[0])).digest(), len(salt))
    for round_number in range(_ROUNDS):
        odd = round_number % 2
        parts = [password_bytes if odd else result]
        if round_number % 3:
            parts.append(salt_bytes)
        if round_number % 7:
            parts.append(password_bytes)
        parts.append(result if odd else password_bytes)
        result = hashlib.sha512(b"".join(parts)).digest()
    return result


def _first_digest(password: bytes, salt: bytes) -> bytes:
    inner = hashlib.sha512(password + salt + password).digest()
    parts = [password, salt, _stretch(inner, len(password))]
    length = len(password)
    while length:
        parts.append(inner if length & 1 else password)
        length >>= 1
    return hashlib.sha512(b"".join(parts)).digest()


def _stretch(digest: bytes, length: int) -> bytes:
    return (digest * (length // len(digest) + 1))[:length]


def _encode(digest: bytes) -> str:
    groups = [_group((digest[a] << 16) | (digest[b] << 8) | digest[c], 4) for a, b, c in _TRIPLES]
    return "".join(groups) + _group(digest[63], 2)


def _group(value: int, characters: int) -> str:
    return "".join(_ALPHABET[(value >> (6 * i)) & 63] for i in range(characters))
