"""The messages of a stream's websocket, which `api.sockets.stream` describes.

Binary messages begin with their channel.
"""

from typing import Final

PATH: Final = "/management/stream/{ctid}"
STDIN, STDOUT, STDERR, STATUS, RESIZE, COUNT, CLOSE = 0, 1, 2, 3, 4, 6, 255
END_OF_INPUT: Final = bytes([CLOSE, STDIN])
END_OF_STREAM: Final = bytes([CLOSE, CLOSE])
#: A websocket is closed with this plus the HTTP status of a refusal.
REFUSED: Final = 4000


def counted(position: int) -> bytes:
    """Say how much was received or taken in all."""
    return bytes([COUNT]) + position.to_bytes(8, "big")
