"""The login prompt of consoles in cmode tty and console, with the password the guest was given."""

import hashlib
import hmac
import os
import secrets
import socket
import termios
from pathlib import Path

_SCHEME = "$scrypt$"
_COST, _BLOCKS, _LANES = 1024, 8, 1
_LINE_LIMIT = 256
_ISSUE = "\r\nDevnet Linux {hostname} tty1\r\n\r\n"


def seal(password: str) -> str:
    """Turn a password into the second field of /etc/shadow; with an empty one nobody may log in."""
    if not password:
        return "*"
    salt = secrets.token_bytes(16)
    return f"{_SCHEME}{salt.hex()}${_digest(password.encode(), salt).hex()}"


def opens(sealed: str, password: bytes) -> bool:
    """Tell whether `password` is the one that was sealed."""
    if not sealed.startswith(_SCHEME):
        return False
    salt, _, digest = sealed.removeprefix(_SCHEME).partition("$")
    found = _digest(password, bytes.fromhex(salt))
    return hmac.compare_digest(found, bytes.fromhex(digest))


def ask() -> None:
    """Prompt on the standard streams until the root password is entered; ends with the terminal."""
    hostname = socket.gethostname()
    os.write(1, _ISSUE.format(hostname=hostname).encode())
    while True:
        os.write(1, f"{hostname} login: ".encode())
        name = _read_line()
        password = _read_hidden_line(b"Password: ")
        if name == b"root" and opens(_stored(), password):
            return
        os.write(1, b"\r\nLogin incorrect\r\n")


def _digest(password: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=_COST, r=_BLOCKS, p=_LANES, dklen=32)


def _stored() -> str:
    for line in Path("/etc/shadow").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "root":
            return rest.partition(":")[0]
    return "*"


def _read_line() -> bytes:
    data = os.read(0, _LINE_LIMIT)
    if not data:
        os._exit(0)
    return data.rstrip(b"\r\n")


def _read_hidden_line(prompt: bytes) -> bytes:
    """Prompt once the echo is off, as login(1) does: what is typed before that is discarded."""
    settings = termios.tcgetattr(0)
    quiet = [*settings]
    quiet[3] = settings[3] & ~termios.ECHO
    termios.tcsetattr(0, termios.TCSAFLUSH, quiet)
    try:
        os.write(1, prompt)
        return _read_line()
    finally:
        termios.tcsetattr(0, termios.TCSANOW, settings)
