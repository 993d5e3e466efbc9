"""Refuses a connection before any cryptography, in words that ssh shows.

A server may disconnect at any time, even before keys are exchanged (RFC 4253, section 11.1). So the
packet is sent in the clear, right behind the version.
"""

import contextlib
import socket
from typing import Final

VERSION: Final = "pve402"
_DISCONNECT: Final = 1
TOO_MANY_CONNECTIONS: Final = 12
_BLOCK_BYTES: Final = 8
_LEAST_PADDING_BYTES: Final = 4


def say(connection: socket.socket, reason: str) -> None:
    """Send the reason without waiting, and close."""
    with contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(f"SSH-2.0-{VERSION}\r\n".encode() + packet(reason))
        connection.shutdown(socket.SHUT_WR)
    connection.close()


def packet(reason: str) -> bytes:
    """Return the unencrypted packet (RFC 4253, sections 6 and 11.1)."""
    body = bytes([_DISCONNECT]) + TOO_MANY_CONNECTIONS.to_bytes(4, "big")
    body += _string(reason.encode()) + _string(b"")
    padding = _BLOCK_BYTES - (5 + len(body)) % _BLOCK_BYTES
    if padding < _LEAST_PADDING_BYTES:
        padding += _BLOCK_BYTES
    head = (1 + len(body) + padding).to_bytes(4, "big") + bytes([padding])
    return head + body + bytes(padding)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
