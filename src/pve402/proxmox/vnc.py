"""The handshake of an RFB 3.8 connection (VNC), without I/O, on both sides of a bridge.

We authenticate to Proxmox with the 8-character password of `vncproxy`, and offer the browser
the security type None, so that it never sees a credential. Everything after the handshake, from
ClientInit on, passes through unread.

Source: RFC 6143, sections 7.1 and 7.2. VNC authentication encrypts the server's challenge with
DES; the key is the password with the bits of each byte reversed.
"""

from collections.abc import Generator

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

VERSION = b"RFB 003.008\n"
_NONE = 1
_VNC_AUTHENTICATION = 2
_CHALLENGE_BYTES = 16
_KEY_BYTES = 8
_ACCEPTED = bytes(4)


class VncFailed(Exception):
    """The opening of the VNC connection failed."""


#: Yields how many bytes it needs and what to send first; then receives those bytes.
_Steps = Generator[tuple[bytes, int], bytes, bytes]


class Handshake:
    """A handshake in progress: takes received bytes, returns bytes to send."""

    def __init__(self, steps: _Steps) -> None:
        self._steps = steps
        self._buffer = bytearray()
        self._is_done = False
        self._outgoing, self._needed = next(steps)

    @property
    def is_done(self) -> bool:
        """Whether the handshake is over, so that all further bytes belong to the connection."""
        return self._is_done

    def bytes_to_send(self) -> bytes:
        """The bytes to send now; returns them only once."""
        data, self._outgoing = self._outgoing, b""
        return data

    def receive(self, data: bytes) -> None:
        """Take received bytes. Raises VncFailed; do not use the handshake after that."""
        self._buffer += data
        while not self._is_done and len(self._buffer) >= self._needed:
            taken = bytes(self._buffer[: self._needed])
            del self._buffer[: self._needed]
            try:
                outgoing, self._needed = self._steps.send(taken)
            except StopIteration as stop:
                self._is_done = True
                outgoing = stop.value
            self._outgoing += outgoing

    def rest(self) -> bytes:
        """The bytes received after the handshake; returns them only once."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data


def client_handshake(password: str) -> Handshake:
    """Our handshake with Proxmox: VNC authentication."""
    return Handshake(_client(password))


def server_handshake() -> Handshake:
    """Our handshake with the browser: no authentication."""
    return Handshake(_server())


def answer_challenge(password: str, challenge: bytes) -> bytes:
    """Encrypt the challenge as VNC does; only the password's first 8 bytes count."""
    key = password.encode("latin-1")[:_KEY_BYTES].ljust(_KEY_BYTES, b"\0")
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    # Triple DES with three equal keys is plain DES.
    encryptor = Cipher(TripleDES(mirrored * 3), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(challenge) + encryptor.finalize()


def _client(password: str) -> _Steps:
    version = yield b"", len(VERSION)
    if version != VERSION:
        raise VncFailed("the VNC server does not speak RFB 3.8")
    count = yield VERSION, 1
    if count == b"\0":
        raise VncFailed("the VNC server refuses the connection")
    types = yield b"", count[0]
    if _VNC_AUTHENTICATION not in types:
        raise VncFailed("the VNC server offers no VNC authentication")
    challenge = yield bytes([_VNC_AUTHENTICATION]), _CHALLENGE_BYTES
    result = yield answer_challenge(password, challenge), len(_ACCEPTED)
    if result != _ACCEPTED:
        raise VncFailed("the VNC server refuses the password")
    return b""


def _server() -> _Steps:
    version = yield VERSION, len(VERSION)
    if version != VERSION:
        raise VncFailed("the VNC client does not speak RFB 3.8")
    chosen = yield bytes([1, _NONE]), 1
    if chosen != bytes([_NONE]):
        raise VncFailed("the VNC client chose a security type that was not offered")
    return _ACCEPTED
