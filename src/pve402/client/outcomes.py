"""What an answer to a paid request says about its payment."""

import contextlib
import re
from typing import Final

from pve402.client import errors, ledger, receipt, spending, threads, transport
from pve402.client.wallet import Wallet
from pve402.schemas.wire import Wire

_LEASE_ID: Final = re.compile(r"l[a-z0-9]{25}")


class _Part(Wire):
    """A lease of an answer; it has a token once it is handed over."""

    access_token: str | None = None


class _Promise(_Part):
    """What is read of an answer to a purchase that is not done yet, whatever it buys."""

    lease_id: str = ""  # an image has none
    others: tuple[_Part, ...] = ()  # copies


async def sent_before(
    book: ledger.Ledger, wallet: Wallet, idempotency_key: str | None, url: str, path: str
) -> spending.Sent | None:
    """This wallet's payment that an earlier call sent for the same key."""
    if idempotency_key is None or not wallet.is_given:
        return None
    found = await threads.run(book.sent_for, idempotency_key, url, path)
    return found if found and found.payer == wallet.address.lower() else None


def note(book: ledger.Ledger, payment_id: int, reply: transport.Reply) -> None:
    """Note it in the ledger; nothing if it leaves the payment open."""
    found = receipt.read(reply.headers)
    transaction = str(found.transaction) if found else ""
    refused = transport.refusal(reply) if reply.status >= 400 else None
    with contextlib.suppress(errors.LedgerUnusable):  # it goes on counting as spent
        if refused is None or refused.code == errors.PAID_IN_VAIN:
            book.settle(payment_id, transaction)
        elif refused.is_final:
            book.refuse(payment_id)


def final(reply: transport.Reply, idempotency_key: str) -> transport.Reply:
    """The last answer, if it is one. Raises OutcomeUnknown for a promise: nothing is bought yet.

    If some copies are there while another is being made again, that is an answer.
    """
    if reply.status != 202:
        return reply
    promised = transport.read(reply, _Promise)
    copies = (promised, *promised.others) if promised.others else ()
    if any(one.access_token for one in copies):
        return reply
    known = promised.lease_id if _LEASE_ID.fullmatch(promised.lease_id) else ""
    raise errors.OutcomeUnknown("the service is still working on it", idempotency_key, known)
