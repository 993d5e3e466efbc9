"""The connection to one Proxmox VE host: one aiohttp session, TLS, time limits, size limits.

When something breaks, this module must know whether the call may have been executed. Before a
connection is established nothing was sent (`Unreachable`); after that anything may have
happened (`OutcomeUnknown`). aiohttp would automatically repeat a PUT or DELETE whose kept-alive
connection broke; we prevent that, and repeat only reads, once, ourselves.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, urlencode

import aiohttp
import structlog
from yarl import URL

from pve402.domain import causes
from pve402.proxmox import answers, errors
from pve402.proxmox.options import ProxmoxOptions, api_url, fingerprint_digest

_log = structlog.get_logger(__name__)

WebSocket: TypeAlias = aiohttp.ClientWebSocketResponse[Literal[True]]
"""A console's websocket. Nobody but aiohttp may stop and resume its transport."""

#: pveproxy sends websocket frames of at most 128 KiB.
_WEBSOCKET_MESSAGE_BYTES = 1024 * 1024
#: How long a closing websocket waits for the other side's close frame.
_WEBSOCKET_CLOSE_SECONDS = 2.0
_TLS_GOODBYE_SECONDS = 0.1

#: Ask for uncompressed answers. We never decompress, so an answer cannot grow here; a compressed
#: one is just unreadable.
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/x-www-form-urlencoded",
}


@dataclass(kw_only=True)
class _Attempt:
    """One attempt to send a request; `connected` once its bytes may have been sent."""

    connected: bool = False


class _Dropped(Exception):
    """A connection broke; this hides the error from aiohttp, which would repeat the request."""


class Transport:
    """Sends requests to one host; returns its answers, or raises what is known of the outcome."""

    def __init__(self, options: ProxmoxOptions) -> None:
        self._root = api_url(options.host)
        self._options = options
        self._limits = options.limits
        self._tls = _tls_setting(options)
        self._slots = asyncio.Semaphore(options.max_parallel_calls)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection; idempotent."""
        session, self._session = self._session, None
        if session is None:
            return
        await session.close()
        if self._root.scheme == "https":
            # aiohttp does not wait for connections that are still shutting down TLS.
            await asyncio.sleep(_TLS_GOODBYE_SECONDS)

    async def exchange(
        self,
        call: answers.Call,
        *,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        limit_seconds: float | None = None,
    ) -> answers.Answer:
        """Send one call and return the answer, whatever its status.

        Raises Unreachable, OutcomeUnknown, or UnexpectedAnswer if the answer is too large.
        """
        limits = self._limits
        default = limits.write_seconds if call.is_write else limits.read_seconds
        limit = default if limit_seconds is None else limit_seconds
        try:
            return await self._exchange_once(call, parameters, headers, limit)
        except errors.ConnectionDropped:
            if call.is_write:
                raise
        return await self._exchange_once(call, parameters, headers, limit)

    async def open_websocket(
        self, call: answers.Call, *, parameters: Mapping[str, str], headers: Mapping[str, str]
    ) -> WebSocket:
        """Upgrade one connection to a websocket of binary frames.

        Raises Unreachable if none opened, else the error for the refusing status. No error is
        chained: aiohttp puts the URL, and so the ticket, into some of its messages.
        """
        try:
            async with asyncio.timeout(self._limits.console_seconds):
                socket: WebSocket = await self._open_session().ws_connect(
                    self._url(call.path, query=parameters),
                    protocols=("binary",),
                    headers=dict(headers),
                    timeout=aiohttp.ClientWSTimeout(ws_close=_WEBSOCKET_CLOSE_SECONDS),
                    max_msg_size=_WEBSOCKET_MESSAGE_BYTES,
                )
                return socket
        except aiohttp.WSServerHandshakeError as error:
            raise _handshake_error(call, error.status) from None
        except (aiohttp.ClientError, OSError, _Dropped) as error:
            problem = f"no websocket was opened: {type(error).__name__}"
            raise errors.Unreachable(problem, call=call.name) from None

    async def _exchange_once(
        self,
        call: answers.Call,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        limit_seconds: float,
    ) -> answers.Answer:
        attempt = _Attempt()
        started = time.monotonic()
        in_query = call.method in {"GET", "DELETE"}
        async with (
            _translated(call, attempt, limit_seconds),
            asyncio.timeout(limit_seconds),
            self._slots,
            self._open_session().request(
                call.method,
                self._url(call.path, query=parameters if in_query else {}),
                data=None if in_query else urlencode(parameters, quote_via=quote).encode(),
                headers={**_HEADERS, **headers},
                allow_redirects=False,
                trace_request_ctx=attempt,
            ) as response,
        ):
            body = await self._read_bounded(response, call)
        elapsed_ms = round((time.monotonic() - started) * 1000)
        _log.debug("proxmox.call", call=call.name, status=response.status, elapsed_ms=elapsed_ms)
        return answers.Answer(status=response.status, reason=response.reason or "", body=body)

    async def _read_bounded(self, response: aiohttp.ClientResponse, call: answers.Call) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._options.max_answer_bytes:
                response.close()
                raise answers.unusable(call, "the answer is too large", status=response.status)
        return bytes(body)

    def _url(self, path: str, *, query: Mapping[str, str]) -> URL:
        # Tickets contain colons, slashes and plus signs; all must be encoded.
        suffix = f"?{urlencode(query, quote_via=quote, safe='')}" if query else ""
        return URL(f"{self._root}{path}{suffix}", encoded=True)

    def _open_session(self) -> aiohttp.ClientSession:
        """The one session, created on first use because aiohttp needs a running loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._tls,
                limit=0,  # consoles hold connections for hours; the slots bound the calls
                keepalive_timeout=self._limits.idle_connection_seconds,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(sock_connect=self._limits.connect_seconds),
                trace_configs=[_connection_trace()],
                middlewares=(_never_repeat,),
            )
        return self._session


async def _never_repeat(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from resending a request that it may already have sent."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Dropped(type(error).__name__) from error


def _connection_trace() -> aiohttp.TraceConfig:
    async def mark(_session: aiohttp.ClientSession, context: SimpleNamespace, _: Any) -> None:
        attempt = context.trace_request_ctx
        if isinstance(attempt, _Attempt):
            attempt.connected = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(mark)
    trace.on_connection_reuseconn.append(mark)
    return trace


@asynccontextmanager
async def _translated(
    call: answers.Call, attempt: _Attempt, limit_seconds: float
) -> AsyncIterator[None]:
    """Turn aiohttp's errors into ours, by what is known of the call's outcome."""
    name = call.name
    try:
        yield
    except (aiohttp.ServerFingerprintMismatch, aiohttp.ClientConnectorCertificateError) as error:
        fault = causes.certificate_fault(error) or "its fingerprint differs"
        problem = f"the certificate is not trusted: {fault}"
        raise errors.CertificateRejected(problem, call=name) from error
    except TimeoutError as error:
        if attempt.connected:
            problem = f"no whole answer within {limit_seconds:g} s"
            raise errors.OutcomeUnknown(problem, call=name) from error
        raise errors.Unreachable("no connection in time", call=name) from error
    except (aiohttp.ClientError, OSError, _Dropped) as error:
        problem = _cause(error)
        if attempt.connected:
            raise errors.ConnectionDropped(f"connection broke: {problem}", call=name) from None
        raise errors.Unreachable(f"no connection: {problem}", call=name) from error


def _cause(error: Exception) -> str:
    """What went wrong below HTTP; names the peer if we could not connect."""
    why = causes.reason(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port}: {why}"
    return why


def _handshake_error(call: answers.Call, status: int) -> errors.ProxmoxError:
    """The error for a handshake that did not open a websocket."""
    if status in {101, 200}:
        problem = "the answer to the websocket upgrade is not valid"
        return errors.UnexpectedAnswer(problem, call=call.name, status=status)
    return answers.refusal(answers.Answer(status=status, reason=""), call)


def _tls_setting(options: ProxmoxOptions) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
    if options.fingerprint_sha256 is not None:
        return aiohttp.Fingerprint(fingerprint_digest(options.fingerprint_sha256))
    if not options.verify_ssl:
        _log.warning("proxmox.certificate_not_verified", host=options.host)
        return False
    if options.ca_file is not None:
        return ssl.create_default_context(cafile=str(options.ca_file))
    return True
