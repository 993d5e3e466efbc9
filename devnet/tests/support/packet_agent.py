"""Sends and receives in one network namespace, as told by lines of JSON on its input.

Run as `python -I -S packet_agent.py INTERFACE`; it knows nothing but the standard library.
"""

import json
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

_PATIENCE_SECONDS = 0.8  # for an answer that may never come
_LIMIT_SECONDS = 10.0  # for a frame that must come
_ALL_PROTOCOLS = socket.htons(0x0003)
_OUTGOING = 4
_ECHO_REQUEST = 8


class Agent:
    """What one namespace can be told to do; each order returns something JSON can hold."""

    def __init__(self, interface: str) -> None:
        self._raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _ALL_PROTOCOLS)
        self._raw.bind((interface, 0))
        self._kept: socket.socket | None = None
        self._pings = 0

    def listen(self, tcp: list[int], udp: list[int]) -> None:
        """Echo on ports until the end."""
        for port in tcp:
            server = socket.create_server(("", port))
            threading.Thread(target=_serve, args=(server,), daemon=True).start()
        for port in udp:
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bound.bind(("", port))
            threading.Thread(target=_echo_datagrams, args=(bound,), daemon=True).start()

    def tcp(self, host: str, port: int) -> str:
        """Connect: open, refused, or silent."""
        try:
            socket.create_connection((host, port), timeout=_PATIENCE_SECONDS).close()
        except TimeoutError:
            return "silent"
        except OSError:
            return "refused"
        return "open"

    def keep(self, host: str, port: int) -> bool:
        """Open a connection that stays, and try it; it is expected to be let through."""
        self._kept = socket.create_connection((host, port), timeout=_LIMIT_SECONDS)
        passes = self.more()
        self._kept.settimeout(_PATIENCE_SECONDS)
        return passes

    def more(self) -> bool:
        """Send on the connection that is kept; whether it comes back."""
        assert self._kept is not None
        try:
            self._kept.sendall(b"more")
            return self._kept.recv(16) == b"more"
        except OSError:
            return False

    def udp(self, host: str, port: int, source_port: int = 0) -> bool:
        """Send a datagram; whether it comes back."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(_PATIENCE_SECONDS)
            asking.bind(("", source_port))
            asking.sendto(b"ping", (host, port))
            try:
                return asking.recv(16) == b"ping"
            except OSError:
                return False

    def ping(self, host: str, patience: float = _PATIENCE_SECONDS) -> bool:
        """Send an echo request; whether there is an answer.

        Patience is for a host whose address was asked for in vain a moment ago.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as asking:
            asking.settimeout(patience)
            self._pings += 1  # a number of its own is a connection of its own to a filter
            body = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, self._pings, 1)
            body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
            asking.sendto(body, (host, 0))
            try:
                while True:
                    answer, (address, _) = asking.recvfrom(128)
                    if address == host and answer[20] == 0:
                        return True
            except OSError:
                return False

    def send(self, frames: list[str]) -> None:
        """Send whole frames, in hexadecimal."""
        for frame in frames:
            self._raw.send(bytes.fromhex(frame))

    def forget(self) -> None:
        """Leave aside the frames received so far."""
        self._raw.setblocking(False)
        try:
            while True:
                self._raw.recv(2048)
        except BlockingIOError:
            return

    def until(self, marker: str) -> list[str]:
        """Return the frames received, up to one that holds the marker."""
        seen: list[str] = []
        self._raw.settimeout(_LIMIT_SECONDS)
        while not (seen and marker in seen[-1]):
            frame, (_, _, kind, _, _) = self._raw.recvfrom(2048)
            if kind != _OUTGOING:
                seen.append(frame.hex())
        return seen[:-1]


def main() -> None:
    """Obey until the input ends."""
    agent = Agent(sys.argv[1])
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        act: Callable[..., Any] = getattr(agent, order.pop("do"))
        sys.stdout.write(json.dumps(act(**order)) + "\n")
        sys.stdout.flush()


def _serve(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(1024):
            connection.sendall(data)


def _echo_datagrams(bound: socket.socket) -> None:
    while True:
        data, address = bound.recvfrom(1024)
        bound.sendto(data, address)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


if __name__ == "__main__":
    main()
