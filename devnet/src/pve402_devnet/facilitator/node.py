"""The facilitator's access to a node: any function that calls a JSON-RPC method and waits.

An in-process chain provides its own (`SimulatedChain.rpc`); `HttpNode` talks to any other node,
such as anvil.
"""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any, Protocol
from urllib.parse import urlsplit

MAX_ANSWER_BYTES = 8 * 1024 * 1024


class CallNode(Protocol):
    """Call one JSON-RPC method; any exception is a refusal, and its text says why."""

    def __call__(self, method: str, /, *params: Any) -> Any: ...


class NodeRefused(Exception):
    """The node answered a call with an error."""


class HttpNode:
    """A node behind a URL, with one connection per thread."""

    def __init__(self, url: str, *, timeout_seconds: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError("a devnet facilitator speaks to its node over plain http")
        self._address = (parts.hostname, parts.port or 80)
        self._path = parts.path or "/"
        self._timeout_seconds = timeout_seconds
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def __call__(self, method: str, /, *params: Any) -> Any:
        """Call a method.

        Raises: NodeRefused: the node's own error. OSError, http.client.HTTPException: the node
        cannot be reached or answers nonsense.
        """
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = json.loads(self._post(json.dumps(question).encode()))
        if "error" in answer:
            raise NodeRefused(answer["error"].get("message", "unknown error"))
        return answer["result"]

    def close(self) -> None:
        """Close every thread's connection."""
        while self._connections:
            self._connections.pop().close()

    def _post(self, body: bytes) -> bytes:
        connection = self._connection()
        try:
            connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            return connection.getresponse().read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self._address
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout_seconds)
            self._local.connection = connection
            self._connections.append(connection)
        return connection
