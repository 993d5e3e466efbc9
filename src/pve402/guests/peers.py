"""Calls between replicas: signed, fresh, valid once, and for one replica only.

All replicas derive the signing key from the shared secret. The signature covers the receiver's
address, method, target, lease, time, nonce and the body: the hash of a short body, or `pieces`
for a stream. Each piece carries a code chained to the signature, so that a stream can be neither
changed nor cut short. Answers are not signed: the network between replicas is private.
"""

import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

import aiohttp
import yarl

from pve402.domain import errors

PIECES = "pieces"
END_TARGET = "/peer/end"
_PREFIX = "pve402-peer-"
_WINDOW_SECONDS = 60
LARGEST_NONCES = 200_000
_PIECE_HEAD = struct.Struct("!I32s")
_LARGEST_PIECE_BYTES = 1024 * 1024
_CONNECT_SECONDS = 2.0
SILENCE_SECONDS = 65.0
"""A peer pings every 20 seconds; one that is silent for longer than three pings is gone."""


class PeerUnreachable(Exception):
    """We could not connect to the peer, so it did not receive the call."""


class PeerLost(Exception):
    """The connection to the peer broke during the call; the outcome is unknown."""


class CallNotAuthentic(Exception):
    """The call does not come from a peer, or is a replay."""


class BodyNotAuthentic(Exception):
    """A piece of the body is not the one signed, or the last piece is missing."""


@dataclass(frozen=True, kw_only=True)
class PeerCall:
    """The signed parts of a call."""

    address: str
    method: str
    target: str  # path and query as sent
    lease_id: str
    body: str  # SHA-256 of the body in hexadecimal, or `pieces`
    made_at: int  # Unix time
    nonce: str

    def text(self) -> bytes:
        """The text to sign; no part of it can contain a newline."""
        parts = ("pve402 peer 1", self.address, self.method, self.target, self.lease_id)
        return "\n".join((*parts, self.body, str(self.made_at), self.nonce)).encode()

    def check_body(self, body: bytes) -> None:
        """Raise BodyNotAuthentic unless this is the signed body."""
        if not hmac.compare_digest(hashlib.sha256(body).hexdigest(), self.body):
            raise BodyNotAuthentic


class Signer:
    """Signs calls, and verifies calls signed by others."""

    def __init__(self, key: bytes, *, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._now = now
        self._started_at = int(now())
        self._seen: dict[str, int] = {}

    def sign(
        self, address: str, method: str, target: str, lease_id: str, body: bytes | None
    ) -> dict[str, str]:
        """Return the headers of a new call; `body` is None if it is sent in pieces."""
        call = PeerCall(
            address=address,
            method=method,
            target=target,
            lease_id=lease_id,
            body=PIECES if body is None else hashlib.sha256(body).hexdigest(),
            made_at=int(self._now()),
            nonce=secrets.token_hex(16),
        )
        return {
            f"{_PREFIX}lease": call.lease_id,
            f"{_PREFIX}body": call.body,
            f"{_PREFIX}time": str(call.made_at),
            f"{_PREFIX}nonce": call.nonce,
            f"{_PREFIX}signature": self._signature(call),
        }

    def check(
        self, address: str, method: str, target: str, headers: Mapping[str, str]
    ) -> tuple[PeerCall, str]:
        """Return the call described by the headers, and its signature. Raises CallNotAuthentic.

        Refuses calls made before we started: we cannot know whether they are replays.
        """
        told = {name: headers.get(f"{_PREFIX}{name}", "") for name in _NAMES}
        if not told["time"].isascii() or not told["time"].isdigit() or len(told["time"]) > 12:
            raise CallNotAuthentic
        call = PeerCall(
            address=address,
            method=method,
            target=target,
            lease_id=told["lease"],
            body=told["body"],
            made_at=int(told["time"]),
            nonce=told["nonce"],
        )
        if not hmac.compare_digest(self._signature(call).encode(), told["signature"].encode()):
            raise CallNotAuthentic
        self._use(call)
        return call, told["signature"]

    def pieces(self, signature: str) -> "PieceCodes":
        """Return the chain of piece codes that starts from a call's signature."""
        return PieceCodes(self._key, signature)

    def _signature(self, call: PeerCall) -> str:
        return hmac.new(self._key, call.text(), hashlib.sha256).hexdigest()

    def _use(self, call: PeerCall) -> None:
        now = self._now()
        too_old = call.made_at < max(now - _WINDOW_SECONDS, self._started_at)
        if too_old or call.made_at > now + _WINDOW_SECONDS or call.nonce in self._seen:
            raise CallNotAuthentic
        while self._seen and next(iter(self._seen.values())) < now - 2 * _WINDOW_SECONDS:
            del self._seen[next(iter(self._seen))]
        if len(self._seen) >= LARGEST_NONCES:
            raise errors.Overloaded
        self._seen[call.nonce] = int(now)


_NAMES = ("lease", "body", "time", "nonce", "signature")


class PieceCodes:
    """Codes of one body's pieces, each derived from the one before; the last piece is empty."""

    def __init__(self, key: bytes, signature: str) -> None:
        self._key = key
        self._last = signature.encode()

    def next(self, piece: bytes) -> bytes:
        """Return the 32 bytes of the next piece's code."""
        self._last = hmac.new(self._key, self._last + piece, hashlib.sha256).digest()
        return self._last

    async def write(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield chunks as pieces: length, code, bytes."""
        async for chunk in chunks:
            for start in range(0, len(chunk), _LARGEST_PIECE_BYTES):
                piece = chunk[start : start + _LARGEST_PIECE_BYTES]
                yield _PIECE_HEAD.pack(len(piece), self.next(piece)) + piece
        yield _PIECE_HEAD.pack(0, self.next(b""))

    async def read(self, received: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the bytes of pieces. Raises BodyNotAuthentic."""
        buffer = bytearray()
        async for data in received:
            buffer += data
            while (piece := self._take(buffer)) is not None:
                if not piece:
                    return
                yield piece
        raise BodyNotAuthentic

    def _take(self, buffer: bytearray) -> bytes | None:
        if len(buffer) < _PIECE_HEAD.size:
            return None
        length, code = _PIECE_HEAD.unpack_from(buffer)
        if length > _LARGEST_PIECE_BYTES:
            raise BodyNotAuthentic
        if len(buffer) < _PIECE_HEAD.size + length:
            return None
        piece = bytes(buffer[_PIECE_HEAD.size : _PIECE_HEAD.size + length])
        del buffer[: _PIECE_HEAD.size + length]
        if not hmac.compare_digest(self.next(piece), code):
            raise BodyNotAuthentic
        return piece


@dataclass(kw_only=True)
class Peers:
    """Calls other replicas."""

    signer: Signer = field(repr=False)
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)

    async def send(
        self,
        address: str,
        method: str,
        target: str,
        *,
        lease_id: str,
        headers: Mapping[str, str],
        body: bytes | AsyncIterator[bytes] = b"",
    ) -> aiohttp.ClientResponse:
        """Make a call and return its answer before the answer's body has arrived.

        We send a streamed body only after the peer asks for it.
        Raises PeerUnreachable, PeerLost.
        """
        whole = body if isinstance(body, bytes) else None
        signed = self.signer.sign(address, method, target, lease_id, whole)
        data = body
        if not isinstance(body, bytes):
            data = self.signer.pieces(signed[f"{_PREFIX}signature"]).write(body)
        try:
            return await self._open().request(
                method,
                _url(address, target),
                headers={**headers, **signed},
                data=data,
                expect100=whole is None,
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise PeerUnreachable from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PeerLost from error

    async def connect(
        self, address: str, target: str, *, lease_id: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket; read it with `receive`.

        Raises PeerUnreachable, also if the peer refuses it.
        """
        signed = self.signer.sign(address, "GET", target, lease_id, b"")
        try:
            return await self._open().ws_connect(
                _url(address, target),
                headers={**headers, **signed},
                max_msg_size=4 * 1024 * 1024,
                autoping=False,  # see `receive`
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PeerUnreachable from error

    async def end(self, address: str, lease_id: str, reason: str) -> None:
        """Have a peer close everything in a lease's guest. Raises PeerUnreachable."""
        try:
            answer = await self.send(
                address, "POST", END_TARGET, lease_id=lease_id, headers={}, body=reason.encode()
            )
        except PeerLost as error:
            raise PeerUnreachable from error
        answer.release()

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(
                timeout=limits,
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3.0),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


async def receive(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """Return a peer's next message. Raises PeerLost if not even a ping comes.

    A machine that lost its power closes no connection. We do not answer the pings: the answer could
    have to wait behind input that the guest does not read, and output would wait for it.
    """
    while True:
        try:
            message = await socket.receive(SILENCE_SECONDS)
        except TimeoutError:
            raise PeerLost from None
        if message.type not in {aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG}:
            return message


def _url(address: str, target: str) -> yarl.URL:
    return yarl.URL(f"http://{address}{target}", encoded=True)
