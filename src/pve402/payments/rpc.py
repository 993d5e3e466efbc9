"""A small JSON-RPC client for EVM nodes: bounded in time and size, retries reads.

The URL often holds an API key, so exceptions contain neither the URL nor a library's error text,
which repeats it.
"""

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp

from pve402.domain import causes
from pve402.payments import errors

Sleep = Callable[[float], Awaitable[None]]

_RATE_LIMITED: Final = frozenset({-32005, -32016, -32097, 429})
_LOGS: Final = "eth_getLogs"
_TOO_MUCH: Final = frozenset({400, 413, 422})
"""HTTP statuses by which some nodes refuse a range of events without a JSON-RPC error."""
_MAX_TEXT: Final = 300
_OUT_OF_GAS: Final = re.compile(
    r"out ?of ?gas|gas required exceeds|exceeds allowance|intrinsic gas|gas too low", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RpcOptions:
    """The node's address and our timeouts."""

    url: str = field(repr=False)
    timeout_seconds: float = 10.0
    """Limit for one attempt."""
    read_attempts: int = 3
    retry_delay_seconds: float = 0.2
    """Pause before the second attempt; doubles each time."""
    max_response_bytes: int = 4 * 1024 * 1024
    max_connections: int = 32


class RpcError(errors.PaymentError):
    """The node answered with a JSON-RPC error.

    `message` is the node's own text, truncated: for our logs and decisions, not for tenants.
    """

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method} was answered with error {code}")
        self.method = method
        self.code = code
        self.message = message[:_MAX_TEXT]

    @property
    def reverted(self) -> bool:
        """Return whether a contract reverted the call (code 3 in geth, a message elsewhere)."""
        return self.code == 3 or "revert" in self.message.lower()

    @property
    def out_of_gas(self) -> bool:
        """Return whether the call needs more gas than it had; the message varies by node."""
        return _OUT_OF_GAS.search(self.message) is not None


class Rpc:
    """One node's JSON-RPC endpoint."""

    def __init__(self, options: RpcOptions, *, sleep: Sleep = asyncio.sleep) -> None:
        self._options = options
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(self, method: str, *params: Any) -> Any:
        """Make a call that changes nothing; retry it if the node does not answer.

        Raises:
            ChainUnavailable: no usable answer after all attempts.
            RpcError: the node answered with an error.
        """
        delay = self._options.retry_delay_seconds
        for attempt in itertools.count(1):
            try:
                return await self.call(method, *params)
            except errors.ChainUnavailable:
                if attempt >= self._options.read_attempts:
                    raise
            await self._sleep(delay)
            delay *= 2
        raise AssertionError("unreachable")

    async def call(self, method: str, *params: Any) -> Any:
        """Send one request, once.

        Raises:
            ChainUnavailable: no usable answer; the node may have acted or not.
            RpcError: the node answered with an error.
        """
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            async with self._open().post(self._options.url, json=request) as response:
                raw = await _read_bounded(response, self._options.max_response_bytes)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise errors.ChainUnavailable(method, causes.reason(error)) from None
        return _result(method, request["id"], status, raw)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._options.timeout_seconds),
                connector=aiohttp.TCPConnector(limit=self._options.max_connections),
            )
        return self._session


def quantity(method: str, value: object) -> int:
    """Parse a number from the node, such as `0x1b4`; at most 256 bits.

    Raises:
        ChainUnavailable: it is not a valid number.
    """
    try:
        if isinstance(value, str) and value.startswith("0x") and len(value) <= 66:
            return int(value, 16)
    except ValueError:
        pass
    raise errors.ChainUnavailable(method, "an answer of another shape")


async def _read_bounded(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit_bytes:
            raise ValueError("response too large")
        chunks.append(chunk)
    return b"".join(chunks)


def _result(method: str, request_id: object, status: int, raw: bytes) -> Any:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise _unusable(method, status, "JSON") from None
    if not isinstance(document, dict):
        raise _unusable(method, status, "a JSON-RPC answer")
    fault = document.get("error")
    if isinstance(fault, str):
        fault = {"message": fault}
    if isinstance(fault, dict):
        raise _fault(method, fault)
    if document.get("id") != request_id or "result" not in document:
        raise _unusable(method, status, "a result")
    return document["result"]


def _unusable(method: str, status: int, lacking: str) -> errors.PaymentError:
    if method == _LOGS and status in _TOO_MUCH:
        return RpcError(method, status, "")
    return errors.ChainUnavailable(method, f"HTTP {status} without {lacking}")


def _fault(method: str, fault: dict[str, Any]) -> errors.PaymentError:
    """Return the error for a node's own; for events, any may mean that the range is too wide."""
    code, message = fault.get("code"), fault.get("message")
    text = message if isinstance(message, str) else ""
    if method == _LOGS:
        return RpcError(method, code if type(code) is int else 0, text)
    if type(code) is not int or code in _RATE_LIMITED:
        return errors.ChainUnavailable(method, "rate limited" if code else "error without a code")
    return RpcError(method, code, text)
