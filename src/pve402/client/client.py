"""The client of one service: prices, leases, renewals, and the tokens for everything else.

What is bought, and how often a payment is sent, is in `client.buying`.
It pays only for leases and renewals. To manage a lease it uses the token that came with it, or
signs in with the wallet to get one, so it never pays the management fee.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self
from urllib.parse import quote as quoted

import aiohttp
from pydantic import TypeAdapter

from pve402 import schemas
from pve402.client import (
    buying,
    challenges,
    ledger,
    transport,
)
from pve402.client.buying import Answer, Bought, Progress
from pve402.client.held import Held, checked_token
from pve402.client.wallet import Wallet

DEFAULT_CAP_USD: Final = Decimal("1.00")
_LEASES: Final = TypeAdapter(list[schemas.LeaseItem])
_OWED: Final = TypeAdapter(list[schemas.OwedItem])


class Client:
    """Calls one service, with a wallet's key, a token, or neither; use it with `async with`."""

    def __init__(
        self,
        url: str,
        *,
        key: str | Callable[[], str] | None = None,
        token: str | None = None,
        held: Sequence[Held] = (),
        cap_usd: Decimal | str = DEFAULT_CAP_USD,
        patience_seconds: float = 300.0,
        book: ledger.Ledger | None = None,
    ) -> None:
        """Take the service's address; one call may cost at most `cap_usd`.

        A key may also be a function that fetches it when it is needed. `held` leases are named
        without asking the service, and their tokens are used.
        Payments go into the spend ledger, by default the one that all of the user's programs share.
        """
        self._http = transport.Transport(url)
        self._wallet = Wallet(key)
        self._token = token
        self.held = held
        self._lease_tokens: dict[str, str] = {one.lease_id: one.token for one in held}
        self._signing_in = asyncio.Lock()
        self.cap_usd = Decimal(cap_usd)
        self._buying = buying.Buying(self.send, self._wallet, self.url, patience_seconds)
        self.book = book or ledger.Ledger()

    @property
    def url(self) -> str:
        """The service's address."""
        return self._http.url

    def sibling(self, token: str | None) -> "Client":
        """Return another client of the service, with the same wallet and another token."""
        return Client(self.url, key=self._wallet.key, token=token, book=self.book)

    def now(self) -> datetime:
        """The service's time, which its leases end by; this machine's before its first answer."""
        return self._http.now()

    @property
    def can_sign_in(self) -> bool:
        """Whether there is a wallet or a token for all calls."""
        return self._wallet.is_given or self._token is not None

    async def __aenter__(self) -> Self:
        """Open the connection pool. Raises AddressInvalid, TokenInvalid."""
        self._token = None if self._token is None else checked_token(self._token)
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        await self._http.__aexit__()

    async def catalogue(self) -> schemas.CatalogueAnswer:
        """Everything on sale."""
        return transport.read(await self.send("GET", "/catalogue"), schemas.CatalogueAnswer)

    async def quote(
        self, wish: schemas.LeaseRequest | schemas.RenewalQuoteRequest
    ) -> schemas.Quote:
        """The exact price of a new lease or a renewal; a ctid needs credentials for its lease."""
        known: dict[str, str] = {}
        if isinstance(wish, schemas.RenewalQuoteRequest) and wish.ctid.isdigit():
            known = await self.authorization(wish.ctid)
        reply = await self.send("POST", "/lease/quote", transport.document(wish), known)
        return transport.read(reply, schemas.Quote)

    async def lease(
        self,
        wish: schemas.LeaseRequest,
        *,
        idempotency_key: str | None = None,
        on_progress: Progress | None = None,
    ) -> Bought[schemas.LeaseAnswer]:
        """Lease a container.

        `on_progress` is called with None just before the payment is sent, and again with the lease
        once the service has accepted the order and is creating the container.

        Raises OverCap, KeyNeeded, Refused, ServiceUnreachable.
        """
        bought = await self.buy(
            "/lease/container",
            transport.document(wish),
            schemas.LeaseAnswer,
            idempotency_key=idempotency_key,
            on_progress=on_progress,
        )
        self.remember(bought.answer)
        return bought

    async def renew(
        self,
        ctid: str,
        minutes: int,
        *,
        idempotency_key: str | None = None,
        on_progress: Progress | None = None,
        cap_usd: Decimal | None = None,
        book: ledger.Ledger | None = None,
    ) -> Bought[schemas.LeaseAnswer]:
        """Add minutes to a lease, named by ctid or leaseId.

        `cap_usd` and `book` are for this call, instead of the client's own. Raises as `lease`.
        """
        return await self.buy(
            f"/lease/{ctid}/renew",
            {"runtimeMinutes": minutes},
            schemas.LeaseAnswer,
            ctid,
            idempotency_key=idempotency_key,
            on_progress=on_progress,
            cap_usd=cap_usd,
            book=book,
        )

    async def owed(self) -> list[schemas.OwedItem]:
        """What the wallet paid and got nothing for. Raises as `leases`."""
        reply = await self._managed("GET", "/owed", None)
        return transport.parsed(reply.body, _OWED.validate_json)

    async def redeem(
        self, owed_id: str, wish: schemas.LeaseRequest, *, idempotency_key: str | None = None
    ) -> schemas.LeaseAnswer:
        """Lease a container for what is owed; the rest stays owed.

        Repeats the request until the container is ready. Raises as `leases`.
        """
        key = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(24)}
        path, document = f"/owed/{quoted(owed_id, safe='')}/redeem", transport.document(wish)
        known = {**key, **await self.authorization(None)}
        reply = await self._buying.until_known(path, document, known, None)
        answer = transport.read(reply, schemas.LeaseAnswer)
        self.remember(answer)
        return answer

    async def leases(self, *, include_over: bool = False) -> list[schemas.LeaseItem]:
        """The caller's leases. Raises KeyNeeded, Refused, ServiceUnreachable."""
        path = "/management/list?all=true" if include_over else "/management/list"
        reply = await self._managed("GET", path, None)
        return transport.parsed(reply.body, _LEASES.validate_json)

    async def show(self, ctid: str, *, wait_seconds: int = 0) -> schemas.LeaseItem:
        """One lease; waits up to 30 s for the addresses of its container. Raises as `leases`."""
        wish = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else None
        reply = await self._managed("GET", f"/lease/{ctid}", ctid, headers=wish)
        return transport.read(reply, schemas.LeaseItem)

    async def details(self, ctid: str) -> schemas.LeaseDetails:
        """One lease with the request that bought it, without secrets. Raises as `leases`."""
        reply = await self._managed("GET", f"/lease/{ctid}", ctid)
        return transport.read(reply, schemas.LeaseDetails)

    async def end(self, ctid: str) -> schemas.LeaseItem:
        """End a lease early; nothing is refunded. Raises as `leases`."""
        reply = await self._managed("DELETE", f"/lease/{ctid}", ctid)
        return transport.read(reply, schemas.LeaseItem)

    async def start(self, ctid: str) -> schemas.LeaseItem:
        """Start a lease's container, or wake the lease. Raises as `leases`."""
        return await self._switch(ctid, "start")

    async def stop(self, ctid: str) -> schemas.LeaseItem:
        """Stop a lease's container; its paid time keeps running. Raises as `leases`."""
        return await self._switch(ctid, "stop")

    async def pause(self, ctid: str) -> schemas.LeaseItem:
        """Stop a lease's container, and burn less while it is down. Raises as `leases`."""
        return await self._switch(ctid, "pause")

    async def reboot(self, ctid: str) -> schemas.LeaseItem:
        """Reboot a lease's container, or start it if it is stopped. Raises as `leases`."""
        return await self._switch(ctid, "reboot")

    async def console(self, ctid: str, kind: schemas.ConsoleKind) -> schemas.ConsoleAnswer:
        """Make a link that opens a console once. Raises as `leases`."""
        wish = transport.document(schemas.ConsoleRequest(console_type=kind))
        path = f"/management/console/{ctid}"
        reply = await self._managed("POST", path, ctid, document=wish)
        return transport.read(reply, schemas.ConsoleAnswer)

    async def _switch(self, ctid: str, act: str) -> schemas.LeaseItem:
        reply = await self._managed("POST", f"/lease/{ctid}/{act}", ctid)
        return transport.read(reply, schemas.LeaseItem)

    async def log_in(self, lease_id: str | None = None) -> schemas.TokenAnswer:
        """Sign a challenge and use the token from now on, which avoids the management fee.

        With a leaseId, the service issues a new token for that lease and revokes the old one. The
        client signs only a sign-in to this service: see `client.challenges`.

        Raises UnexpectedAnswer, KeyNeeded, Refused, ServiceUnreachable.
        """
        wish = schemas.ChallengeRequest(address=self._wallet.address)
        reply = await self.send("POST", "/auth/challenge", transport.document(wish))
        asked = transport.read(reply, schemas.ChallengeAnswer)
        message = challenges.checked(asked, url=self.url, account=wish.address)
        proof = schemas.TokenRequest(
            message=message, signature=self._wallet.sign(message), lease_id=lease_id
        )
        answer = await self.send("POST", "/auth/token", transport.document(proof))
        issued = transport.read(answer, schemas.TokenAnswer)
        if lease_id is None:
            self._token = issued.access_token
        else:
            self._lease_tokens[lease_id] = issued.access_token
        return issued

    async def send(
        self,
        method: str,
        path: str,
        document: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> transport.Reply:
        """Send one request as it is and return any answer.

        Raises ServiceUnreachable, UnexpectedAnswer.
        """
        return await self._http.send(method, path, document, headers)

    @asynccontextmanager
    async def opened(
        self, method: str, path: str, lease: str | None, **request: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a successful answer to a management call, for reading.

        `request` goes to `transport.Transport.answer`. Raises as `leases`.
        """
        headers = request.pop("headers", None) or {}
        for is_last in (False, True):
            bearer = await self.authorization(lease)
            async with self._http.answer(
                method, path, headers={**headers, **bearer}, **request
            ) as response:
                if not is_last and response.status == 401 and self.forget(lease):
                    continue
                yield await transport.accepted(response)
                return

    @asynccontextmanager
    async def socket(self, path: str, lease: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a websocket for a management call. Raises as `leases`, except Refused."""
        async with self._http.socket(path, await self.authorization(lease)) as socket:
            yield socket

    async def authorization(self, lease: str | None) -> dict[str, str]:
        """The header of a management call; the wallet signs in if there is no token yet."""
        async with self._signing_in:
            if not self._known_token(lease):
                await self.log_in()
        return self._known_token(lease)

    def forget(self, lease: str | None) -> bool:
        """Drop a token that the service rejects; false if it cannot be replaced."""
        if not self._wallet.is_given:
            return False
        if lease is None or self._lease_tokens.pop(lease, None) is None:
            self._token = None
        return True

    async def _managed(
        self, method: str, path: str, lease: str | None, **request: Any
    ) -> transport.Reply:
        async with self.opened(method, path, lease, timeout=transport.WHOLE, **request) as response:
            return await transport.read_reply(response)

    async def buy(
        self,
        path: str,
        document: Any,
        answered: type[Answer],
        lease: str | None = None,
        *,
        idempotency_key: str | None = None,
        on_progress: Progress | None = None,
        cap_usd: Decimal | None = None,
        book: ledger.Ledger | None = None,
    ) -> Bought[Answer]:
        """Send a request, pay what is asked for it, and wait until the outcome is known.

        It carries the token of `lease`, if that is known. Raises as `lease`.
        """
        return await self._buying.buy(
            path,
            document,
            self._known_token(lease) if lease else {},
            idempotency_key,
            on_progress,
            cap_usd=self.cap_usd if cap_usd is None else cap_usd,
            book=book or self.book,
            answered=answered,
        )

    def remember(self, bought: schemas.LeaseAnswer) -> None:
        """Use the token of a lease that was just bought."""
        if bought.access_token:
            for name in filter(None, (bought.lease_id, bought.ctid)):
                self._lease_tokens[name] = bought.access_token

    def _known_token(self, lease: str | None) -> dict[str, str]:
        token = (lease and self._lease_tokens.get(lease)) or self._token
        return {"Authorization": f"Bearer {token}"} if token else {}
