"""Asking for an address, and answering, over the wire: broadcasts from port 68 to 67 and back.

Whether an exchange comes about is decided by the cables and filters on the way. What is asked for
is not in the messages: the simulator knows which address a card is given.

Run in a bare interpreter: `python -I -S -c BOOT <source directory> serve`, or `ask INTERFACE`.
"""

import secrets
import socket
import struct
import sys
import time

SERVER_PORT, CLIENT_PORT = 67, 68
LIMIT_SECONDS = 1.0
_TRIES = 3
_PACKET_INFO = 8  # IP_PKTINFO of ip(7), which tells and chooses the interface
_EVERYBODY = "255.255.255.255"


def main(words: list[str]) -> int:
    """Serve until killed, or ask once: 0 where an answer came."""
    if words[0] == "serve":
        serve()
    return ask(words[1])


def serve() -> None:
    """Answer everybody, on the interface that a question came from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.IPPROTO_IP, _PACKET_INFO, 1)
        server.bind(("", SERVER_PORT))
        while True:
            data, told, _, _ = server.recvmsg(1024, 128)
            for level, kind, info in told:
                if (level, kind) == (socket.IPPROTO_IP, _PACKET_INFO):
                    _answer(server, data, struct.unpack("=I", info[:4])[0])


def ask(interface: str) -> int:
    """Ask on an interface, some times within the limit."""
    question = secrets.token_bytes(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        client.bind(("", CLIENT_PORT))
        client.settimeout(LIMIT_SECONDS / _TRIES)
        for _ in range(_TRIES):
            begun = time.monotonic()
            try:
                client.sendto(question, (_EVERYBODY, SERVER_PORT))
                while client.recv(1024) != question:
                    continue
            except OSError:  # no answer, or nothing could be sent
                time.sleep(max(0.0, LIMIT_SECONDS / _TRIES - (time.monotonic() - begun)))
                continue
            return 0
    return 1


def _answer(server: socket.socket, data: bytes, interface: int) -> None:
    chosen = [(socket.IPPROTO_IP, _PACKET_INFO, struct.pack("=I8x", interface))]
    try:
        server.sendmsg([data], chosen, 0, (_EVERYBODY, CLIENT_PORT))
    except OSError:  # the filters of the node
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
