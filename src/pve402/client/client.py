"""A client for tenants: asks for a price, pays it with x402 within a cap, and repeats safely.

A paid request carries an Idempotency-Key, and after a time-out, a lost connection or a
`order_pending` the very same payment is sent again, so that nothing is bought or charged twice.
The payment is made by the official x402 client.

    async with Client("https://rent.example.com", key="0x...", cap_usd="0.50") as client:
        bought = await client.lease(schemas.LeaseRequest(...))
        print(bought.answer.ctid, bought.receipt.transaction)
"""

import asyncio
import dataclasses
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final, Generic, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from pve402 import schemas
from pve402.client import connection as client_connection
from pve402.client import receipt as client_receipt

Model = TypeVar("Model", bound=BaseModel)
Parsed = TypeVar("Parsed")

DEFAULT_CAP_USD: Final = Decimal("1.00")
_LEASES: Final = TypeAdapter(list[schemas.LeaseItem])
_AGAIN: Final = frozenset({"order_pending", "settlement_pending"})
_REQUEST_SECONDS: Final = 240.0
#: Answers that are read as they come show a sign of life four times within this.
_SILENCE_SECONDS: Final = 60.0
_READ_AHEAD_BYTES: Final = 256 * 1024


class ClientError(Exception):
    """Something between a tenant and the service went wrong."""


class ServiceUnreachable(ClientError):
    """The service could not be reached."""


class AddressInvalid(ClientError):
    """The address of the service is not one of HTTP."""


class UnexpectedAnswer(ClientError):
    """What answered does not speak as the service does: a wrong address, or a proxy in between."""


class OverCap(ClientError):
    """No offer of the service is within the cap, or on a network this wallet can pay on."""


class KeyNeeded(ClientError):
    """The call must be paid or signed, and no key was given."""


class KeyInvalid(KeyNeeded):
    """What was given is no private key; its text is in no message."""


class Refused(ClientError):
    """The service refused; `code` is stable, `retry_after_seconds` says when to come back."""

    def __init__(
        self, status: int, code: str, detail: str, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bought(Generic[Model]):
    """An answer that was paid for."""

    answer: Model
    receipt: client_receipt.Receipt | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Calls one service, with a wallet's key, a token, or neither; use it with `async with`."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        token: str | None = None,
        cap_usd: Decimal | str = DEFAULT_CAP_USD,
        patience_seconds: float = 300.0,
    ) -> None:
        """Take the service's address; `cap_usd` is the most that one call may cost."""
        self.url = url.rstrip("/")
        self._key = key
        self._token = token
        self._cap_usd = Decimal(cap_usd)
        self._patience_seconds = patience_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool. Raises AddressInvalid."""
        if not client_connection.is_http(self.url):
            raise AddressInvalid(f"{self.url}: an address begins with http:// or https://")
        limit = aiohttp.ClientTimeout(total=_REQUEST_SECONDS, connect=10)
        self._session = aiohttp.ClientSession(timeout=limit)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    async def catalogue(self) -> schemas.CatalogueAnswer:
        """What is on sale."""
        return _read(await self.send("GET", "/catalogue"), schemas.CatalogueAnswer)

    async def quote(
        self, wish: schemas.LeaseRequest | schemas.RenewalQuoteRequest
    ) -> schemas.Quote:
        """The exact price of a new lease or a renewal; by ctid only with a token of its lease."""
        sent = self.send("POST", "/lease/quote", _document(wish), self._authorized(None))
        return _read(await sent, schemas.Quote)

    async def lease(
        self, wish: schemas.LeaseRequest, *, idempotency_key: str | None = None
    ) -> Bought[schemas.LeaseAnswer]:
        """Lease a container. Raises OverCap, KeyNeeded, Refused, ServiceUnreachable."""
        return await self._buy("/lease/container", _document(wish), idempotency_key)

    async def renew(
        self, ctid: str, minutes: int, *, idempotency_key: str | None = None
    ) -> Bought[schemas.LeaseAnswer]:
        """Add minutes to a lease, named by ctid or leaseId."""
        return await self._buy(f"/lease/{ctid}/renew", {"runtimeMinutes": minutes}, idempotency_key)

    async def leases(self, *, include_over: bool = False) -> list[schemas.LeaseItem]:
        """The caller's leases, for a token or the management fee."""
        path = "/management/list?all=true" if include_over else "/management/list"
        return parsed((await self._call("GET", path)).body, _LEASES.validate_json)

    async def show(self, ctid: str) -> schemas.LeaseItem:
        """One lease."""
        return _read(await self._call("GET", f"/lease/{ctid}"), schemas.LeaseItem)

    async def end(self, ctid: str) -> schemas.LeaseItem:
        """End a lease early; nothing is refunded."""
        return _read(await self._call("DELETE", f"/lease/{ctid}"), schemas.LeaseItem)

    async def log_in(self, lease_id: str | None = None) -> schemas.TokenAnswer:
        """Sign a challenge and use the token from now on, which spares the management fee.

        With a leaseId it is a new token of that lease, and the old one is revoked. A challenge of
        any other service is not signed, for it would let this one in there.

        Raises UnexpectedAnswer, KeyNeeded, Refused, ServiceUnreachable.
        """
        account = self._account()
        wish = schemas.ChallengeRequest(address=account.address)
        challenge = _read(
            await self.send("POST", "/auth/challenge", _document(wish)), schemas.ChallengeAnswer
        )
        if _authority(f"//{challenge.message.partition(' ')[0]}") != _authority(self.url):
            raise UnexpectedAnswer("the service asks to sign what another one would take")
        from eth_account.messages import encode_defunct  # noqa: PLC0415 -- half a second

        signed = account.sign_message(encode_defunct(text=challenge.message))
        proof = schemas.TokenRequest(
            message=challenge.message,
            signature="0x" + signed.signature.hex().removeprefix("0x"),
            lease_id=lease_id,
        )
        issued = _read(
            await self.send("POST", "/auth/token", _document(proof)), schemas.TokenAnswer
        )
        self._token = issued.access_token
        return issued

    async def send(
        self,
        method: str,
        path: str,
        document: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request as it is and return any answer. Raises ServiceUnreachable."""
        if self._session is None:
            raise RuntimeError("use the client with `async with`")
        try:
            async with self._session.request(
                method, self.url + path, json=document, headers=headers
            ) as response:
                return await _reply(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceUnreachable(f"{self.url}: {client_connection.cause(error)}") from error

    @asynccontextmanager
    async def opened(
        self,
        method: str,
        path: str,
        *,
        document: Any = None,
        body: Callable[[], Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Have an answer open while it is read; the call is paid for if it must be.

        `body` makes what is sent, in place of `document`, each time it is sent. Raises as `lease`.
        """
        known = self._authorized(headers)
        async with self._answer(method, path, document, body, known) as response:
            if response.status != 402:
                yield await _accepted(response)
                return
            unpaid = await _reply(response)
        known |= await self.sign(unpaid, path)
        async with self._answer(method, path, document, body, known) as response:
            yield await _accepted(response)

    async def sign(self, reply: Reply, path: str) -> dict[str, str]:
        """The headers that pay what a 402 answer asks for. Raises OverCap, KeyNeeded."""
        from x402.http.x402_http_client import x402HTTPClient  # noqa: PLC0415 -- a second
        from x402.schemas import NoMatchingRequirementsError  # noqa: PLC0415 -- the same

        wallet = x402HTTPClient(_x402_client(self._account(), self._cap_usd))
        try:
            headers, _payload = await wallet.handle_402_response(
                dict(reply.headers), reply.body, self.url + path
            )
        except NoMatchingRequirementsError:
            raise OverCap(f"the price is over the cap of {self._cap_usd} USD") from None
        except (AttributeError, LookupError, TypeError, ValueError):  # the SDK trusts its shape
            raise UnexpectedAnswer("what the service asks to be paid cannot be read") from None
        return dict(headers)

    async def _buy(
        self, path: str, document: Any, idempotency_key: str | None
    ) -> Bought[schemas.LeaseAnswer]:
        key = idempotency_key or secrets.token_urlsafe(24)
        reply = await self._call("POST", path, document, {"Idempotency-Key": key})
        receipt = client_receipt.read(reply.headers)
        try:
            return Bought(answer=_read(reply, schemas.LeaseAnswer), receipt=receipt)
        except UnexpectedAnswer as error:
            raise UnexpectedAnswer(f"{error}; the receipt is {receipt}") from None

    async def _call(
        self,
        method: str,
        path: str,
        document: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request, pay if it must be paid, and stay with it until its outcome is known."""
        known = self._authorized(headers)
        reply = await self.send(method, path, document, known)
        if reply.status == 402:
            known |= await self.sign(reply, path)
            reply = await self._until_known(method, path, document, known)
        if reply.status >= 400:
            raise _refusal(reply)
        return reply

    async def _until_known(
        self, method: str, path: str, document: Any, headers: Mapping[str, str]
    ) -> Reply:
        """Send the same payment again while nobody knows what became of it."""
        give_up_at = time.monotonic() + self._patience_seconds
        while True:
            try:
                reply = await self.send(method, path, document, headers)
            except ServiceUnreachable:
                if time.monotonic() >= give_up_at:
                    raise
                await asyncio.sleep(2)
                continue
            pending = reply.status == 503 and _refusal(reply).code in _AGAIN
            if not (pending or (reply.status == 202 and method == "POST")):
                return reply
            if time.monotonic() >= give_up_at:
                return reply
            await asyncio.sleep(min(10, _retry_after(reply) or 2))

    def _authorized(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        token = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        return {**(headers or {}), **token}

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        document: Any,
        body: Callable[[], Any] | None,
        headers: Mapping[str, str],
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Have one answer open, whatever it is. Raises ServiceUnreachable, while it is read too."""
        if self._session is None:
            raise RuntimeError("use the client with `async with`")
        content = {"json": document} if body is None else {"data": body()}
        limit = aiohttp.ClientTimeout(total=None, connect=10, sock_read=_SILENCE_SECONDS)
        try:
            async with self._session.request(
                method,
                self.url + path,
                headers=headers,
                timeout=limit,
                read_bufsize=_READ_AHEAD_BYTES,
                **content,
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceUnreachable(f"{self.url}: {client_connection.cause(error)}") from error

    def _account(self) -> Any:
        if self._key is None:
            raise KeyNeeded("this call must be paid or signed: give the key of a wallet")
        from eth_account import Account  # noqa: PLC0415 -- half a second that most calls spare

        try:
            return Account.from_key(self._key)
        except Exception:  # noqa: BLE001 -- of many kinds, and some of them quote the key
            raise KeyInvalid("the key given is not the private key of a wallet") from None


def _authority(url: str) -> str:
    """Host and port of an address, as a challenge (EIP-4361) begins with; without usual ports."""
    return urlsplit(url).netloc.lower().removesuffix(":443").removesuffix(":80")


def parsed(body: bytes, reader: Callable[[bytes], Parsed]) -> Parsed:
    """Read the body of a good answer by a schema. Raises UnexpectedAnswer."""
    try:
        return reader(body)
    except ValidationError:
        raise UnexpectedAnswer("the answer is not the service's; is the address right?") from None


def _x402_client(account: Any, cap_usd: Decimal) -> Any:
    from x402 import x402Client  # noqa: PLC0415 -- a second that most calls spare
    from x402.mechanisms.evm.exact import register_exact_evm_client  # noqa: PLC0415 -- the same

    client = register_exact_evm_client(x402Client(), account)
    client.set_spend_controls({"max_amount_per_payment": f"${cap_usd}"})
    return client


def _document(wish: BaseModel) -> Any:
    return wish.model_dump(by_alias=True, mode="json", exclude_none=True)


async def _reply(response: aiohttp.ClientResponse) -> Reply:
    body = await response.read()
    return Reply(status=response.status, headers=response.headers, body=body)


async def _accepted(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    if response.status >= 400:
        raise _refusal(await _reply(response))
    return response


def _read(reply: Reply, model: type[Model]) -> Model:
    if reply.status >= 400:
        raise _refusal(reply)
    return parsed(reply.body, model.model_validate_json)


def _refusal(reply: Reply) -> Refused:
    try:
        problem = json.loads(reply.body)
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        code, detail = "unexpected_answer", f"the service answered {reply.status}"
    return Refused(reply.status, code, detail, _retry_after(reply))


def _retry_after(reply: Reply) -> int | None:
    text = reply.headers.get("Retry-After", "")
    return int(text) if text.isdigit() else None
