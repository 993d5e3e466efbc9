"""A tap in a line of HTTP/1.1: everything passes unchanged, and the requests are written down."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from tests.support.pve_schema import Call

_ROOT = "/api2/json"


@dataclass(kw_only=True)
class Tap:
    """What went by so far; one buffer for each connection."""

    url: str = ""
    sent: list[bytearray] = field(default_factory=list)

    @property
    def calls(self) -> list[Call]:
        """The calls to the API, oldest connection first."""
        return [call for stream in self.sent for call in _requests(bytes(stream))]


@contextlib.contextmanager
def on(url: str) -> Iterator[Tap]:
    """Tap the line to a server of loopback that speaks HTTP without TLS."""
    target = urlsplit(url)
    tap = Tap()

    class Line(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            stream = bytearray()
            tap.sent.append(stream)
            with socket.create_connection((target.hostname, target.port)) as far:
                back = threading.Thread(target=_copy, args=(far, self.request), daemon=True)
                back.start()
                _copy(self.request, far, stream)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Line) as server:
        tap.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield tap
        finally:
            server.shutdown()


def _copy(source: socket.socket, target: socket.socket, kept: bytearray | None = None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if kept is not None:
                kept += data
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _requests(stream: bytes) -> Iterator[Call]:
    """The requests on one connection, up to one that upgrades it."""
    while b"\r\n\r\n" in stream:
        head, stream = stream.split(b"\r\n\r\n", 1)
        first, *fields = head.decode().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in fields)}
        length = int(headers.get("content-length", 0))
        body, stream = stream[:length].decode(), stream[length:]
        parts = urlsplit(target)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        pairs += parse_qsl(body, keep_blank_values=True)
        path = parts.path.removeprefix(_ROOT)
        yield Call(method=method, path=path, parameters=tuple(pairs))
        if "upgrade" in headers:
            return
