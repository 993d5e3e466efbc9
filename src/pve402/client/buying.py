"""Buys: sends a request, pays what the answer asks for, and waits until the outcome is known.

A paid request carries an Idempotency-Key. After a time-out, a lost connection, `order_pending` or
another answer that is not final (`Refused.is_passing`), the same payment is sent again, so nothing
is bought or charged twice.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from pve402 import schemas
from pve402.client import errors, ledger, outcomes, receipt, spending, threads, transport
from pve402.client.wallet import Wallet

Model_co = TypeVar("Model_co", bound=BaseModel, covariant=True)
Answer = TypeVar("Answer", bound=BaseModel)
Progress = Callable[[schemas.LeaseAnswer | None], None]
Send = Callable[[str, str, Any, Mapping[str, str]], Awaitable[transport.Reply]]

_ASYNC: Final = {"Prefer": "respond-async"}


@dataclass(frozen=True, kw_only=True)
class Bought(Generic[Model_co]):
    """A paid request's answer."""

    answer: Model_co
    receipt: receipt.Receipt | None


class Buying:
    """Buys from one service with one wallet."""

    def __init__(self, send: Send, wallet: Wallet, url: str, patience_seconds: float) -> None:
        self._send = send
        self._wallet = wallet
        self._url = url
        self._patience_seconds = patience_seconds

    async def buy(
        self,
        path: str,
        document: Any,
        headers: Mapping[str, str],
        idempotency_key: str | None,
        on_progress: Progress | None,
        *,
        cap_usd: Decimal,
        book: ledger.Ledger,
        answered: type[Answer],
    ) -> Bought[Answer]:
        """Send a request, pay what the answer asks for, and wait until the outcome is known."""
        once = idempotency_key or secrets.token_urlsafe(24)
        known = {**headers, "Idempotency-Key": once}
        signed = await self._sent_before(book, idempotency_key, path)
        if signed is None:
            reply = await self._send("POST", path, document, known)
            if reply.status == 402:
                try:
                    signed = await self._wallet.pay(reply, self._url, path, once, cap_usd, book)
                except errors.LedgerUnusable:
                    signed = await self._sent_before(book, idempotency_key, path)
                    if signed is None:
                        raise
        if signed is not None:
            if on_progress:
                on_progress(None)
            told = on_progress if issubclass(answered, schemas.LeaseAnswer) else None
            reply = await self.until_known(path, document, {**known, **signed.headers}, told)
            await threads.run(outcomes.note, book, signed.payment_id, reply)
        found = receipt.read(reply.headers)
        try:
            return Bought(answer=transport.read(reply, answered), receipt=found)
        except errors.UnexpectedAnswer as error:
            raise errors.UnexpectedAnswer(f"{error}; the receipt is {found}") from None

    async def _sent_before(
        self, book: ledger.Ledger, idempotency_key: str | None, path: str
    ) -> spending.Sent | None:
        """This wallet's payment that an earlier call sent for the same key."""
        return await outcomes.sent_before(book, self._wallet, idempotency_key, self._url, path)

    async def until_known(
        self,
        path: str,
        document: Any,
        headers: Mapping[str, str],
        on_progress: Progress | None,
    ) -> transport.Reply:
        """Send the same payment again until its outcome is known.

        Raises OutcomeUnknown if it was accepted, but not done in time.
        """
        give_up_at = time.monotonic() + self._patience_seconds
        asked = {**headers, **_ASYNC} if on_progress else headers
        while True:
            try:
                reply = await self._send("POST", path, document, asked)
            except errors.ServiceUnreachable:
                if time.monotonic() >= give_up_at:
                    raise
                await asyncio.sleep(2)
                continue
            if reply.status == 202 and on_progress and asked is not headers:
                on_progress(transport.read(reply, schemas.LeaseAnswer))
                asked = headers
                if time.monotonic() < give_up_at:
                    continue
            is_passing = reply.status >= 400 and transport.refusal(reply).is_passing
            if not (is_passing or reply.status == 202):
                return reply
            if time.monotonic() >= give_up_at:
                return outcomes.final(reply, headers["Idempotency-Key"])
            await asyncio.sleep(min(10, transport.retry_after_seconds(reply) or 2))
