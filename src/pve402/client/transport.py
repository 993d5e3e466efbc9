"""Sends requests to one service; trusts neither the size nor the content of its answers."""

import asyncio
import contextlib
import email.utils
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from pve402.client import address, errors, refusals

Model = TypeVar("Model", bound=BaseModel)
Parsed = TypeVar("Parsed")

#: The largest are a list of 5,000 leases, 3 MiB, and a command's output, three times 16 MiB.
LARGEST_ANSWER_BYTES: Final = 80 * 1024 * 1024
#: For answers read in one go; the service sends nothing while it creates a container.
WHOLE: Final = aiohttp.ClientTimeout(total=240, connect=10)
#: A streamed answer sends a keep-alive four times within this.
_SILENCE_SECONDS: Final = 60.0
_READ_AHEAD_BYTES: Final = 256 * 1024
_PING_SECONDS: Final = 30.0
_GOODBYE_SECONDS: Final = 2.0
_LAST_YEAR: Final = 9000


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer as received."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """A pool of connections to one service; use it with `async with`."""

    def __init__(self, url: str) -> None:
        """Take the service's address."""
        self.url = url
        self._session: aiohttp.ClientSession | None = None
        self._told: tuple[datetime, float] | None = None

    async def __aenter__(self) -> Self:
        """Open the pool. Raises AddressInvalid."""
        self.url = address.checked(self.url)
        tracing = aiohttp.TraceConfig()
        tracing.on_request_redirect.append(_refuse_redirect)
        limit = aiohttp.ClientTimeout(total=None, connect=10, sock_read=_SILENCE_SECONDS)
        self._session = aiohttp.ClientSession(
            timeout=limit, trace_configs=[tracing], read_bufsize=_READ_AHEAD_BYTES
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        method: str,
        path: str,
        document: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request and return any answer. Raises ServiceUnreachable, UnexpectedAnswer."""
        async with self.answer(
            method, path, document=document, headers=headers, timeout=WHOLE
        ) as response:
            return await read_reply(response)

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        path: str,
        *,
        document: Any = None,
        body: Callable[[], Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open the answer, whatever its status. `body` builds the body to send, not `document`.

        Raises ServiceUnreachable, also while the answer is read, and Redirected.
        """
        content = {"json": document} if body is None else {"data": body()}
        try:
            async with self._opened.request(
                method, self.url + path, headers=headers, **content, **options
            ) as response:
                self._note_time(response.headers.get("Date", ""))
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    def now(self) -> datetime:
        """The service's time, as of its last answer; this machine's if it has told none."""
        if self._told is None:
            return datetime.now(UTC)
        told, at_seconds = self._told
        return told + timedelta(seconds=time.monotonic() - at_seconds)

    def _note_time(self, date: str) -> None:
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # it is no date
            told = email.utils.parsedate_to_datetime(date[:64]).astimezone(UTC)
            if told.year < _LAST_YEAR:  # later than that, it could not be counted on from there
                self._told = told, time.monotonic()

    @asynccontextmanager
    async def socket(
        self, path: str, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a websocket. Raises ServiceUnreachable, UnexpectedAnswer."""
        try:
            socket = await self._opened.ws_connect(
                self.url + path, headers=headers, heartbeat=_PING_SECONDS
            )
            try:
                yield socket
            finally:
                # closing would hang if the other side has stopped reading
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GOODBYE_SECONDS):
                        await socket.close()
        except aiohttp.WSServerHandshakeError as error:
            raise errors.UnexpectedAnswer(
                f"no websocket opens at this address (HTTP {error.status}); does a proxy block"
                " them?"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client with `async with`")
        return self._session

    def _unreachable(self, error: Exception) -> errors.ServiceUnreachable:
        return errors.ServiceUnreachable(f"{self.url}: {address.cause(error)}")


async def read_reply(response: aiohttp.ClientResponse) -> Reply:
    """Read an answer to its end. Raises UnexpectedAnswer if it is too large."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_ANSWER_BYTES:
            raise errors.UnexpectedAnswer(f"the answer is larger than {LARGEST_ANSWER_BYTES} bytes")
    return Reply(status=response.status, headers=response.headers, body=bytes(body))


async def accepted(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    """Return a successful answer, still open. Raises Refused for any other."""
    if response.status >= 400:
        raise refusal(await read_reply(response))
    return response


def read(reply: Reply, model: type[Model]) -> Model:
    """Parse a successful answer by its schema. Raises Refused, UnexpectedAnswer."""
    if reply.status >= 400:
        raise refusal(reply)
    return parsed(reply.body, model.model_validate_json)


def parsed(body: bytes, reader: Callable[[bytes], Parsed]) -> Parsed:
    """Parse the body of a successful answer. Raises UnexpectedAnswer."""
    try:
        return reader(body)
    except ValidationError:
        raise errors.UnexpectedAnswer(
            "the answer is not from the service; is the address right?"
        ) from None


def refusal(reply: Reply) -> errors.Refused:
    """Build the refusal from an unsuccessful answer, with the time to retry."""
    try:
        problem = json.loads(reply.body)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        code, detail = errors.NOT_OURS, f"the service answered {reply.status}"
    return refusals.of(reply.status, code, detail, retry_after_seconds(reply))


def retry_after_seconds(reply: Reply) -> int | None:
    """Seconds to wait before a retry; None if the answer does not give them."""
    text = reply.headers.get("Retry-After", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def document(wish: BaseModel) -> Any:
    """A request as sent over the wire."""
    return wish.model_dump(by_alias=True, mode="json", exclude_none=True)


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: object, told: aiohttp.TraceRequestRedirectParams
) -> None:
    told.response.close()
    where = errors.told(told.response.headers.get("Location", "nowhere"), 200)
    raise errors.Redirected(f"the service redirects to {where}; use its real address")
