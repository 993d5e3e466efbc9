"""Messages between the runtime outside and the first process of a guest inside.

One message is one packet on a SOCK_SEQPACKET pair: a JSON object with at most one file descriptor.
Neither side trusts the other: sizes are bounded, and anything that does not parse is a `WireError`.
"""

import json
import os
import socket
from typing import Any

NO_SUCH_PROGRAM = "no such program"
"""The text of a failed start whose entrypoint is not in the guest."""

MESSAGE_LIMIT = 128 * 1024
_BRACKETS_LIMIT = 1000

Message = dict[str, Any]


class WireError(Exception):
    """The other side sent something that is not a message of this protocol."""


class WireClosed(Exception):
    """The other side is gone."""


def send(channel: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Send one message; raises WireClosed where nobody reads any more."""
    data = json.dumps(message).encode()
    if len(data) > MESSAGE_LIMIT:
        raise WireError("message too long")
    try:
        socket.send_fds(channel, [data], [] if descriptor is None else [descriptor])
    except (BrokenPipeError, ConnectionResetError) as error:
        raise WireClosed from error


def receive(channel: socket.socket) -> tuple[Message, int | None]:
    """Receive one message and its descriptor, which the caller owns."""
    try:
        data, descriptors, _flags, _address = socket.recv_fds(channel, MESSAGE_LIMIT, 1)
    except ConnectionResetError as error:
        raise WireClosed from error
    descriptor = descriptors[0] if descriptors else None
    if not data:
        _close(descriptor)
        raise WireClosed
    try:
        message = _parse(data)
    except ValueError as error:
        _close(descriptor)
        raise WireError("not JSON") from error
    if not isinstance(message, dict):
        _close(descriptor)
        raise WireError("not an object")
    if descriptor is not None:
        os.set_inheritable(descriptor, False)
    return message, descriptor


def _parse(data: bytes) -> object:
    """Parse JSON with bounded nesting, because deep nesting can crash the process."""
    if data.count(b"[") + data.count(b"{") > _BRACKETS_LIMIT:
        raise ValueError("too many brackets")
    return json.loads(data)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
