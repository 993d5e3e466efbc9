"""A tenant's wallet: signs challenges, and pays with the official x402 client within limits.

What it pays is in the spend ledger before it is signed. The libraries take about a second to
import, so they are imported only to sign or pay.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from pve402.client import chain, errors, ledger, reckoning, spending, threads, transport

#: A signature may be used for so long; services of ours ask for an hour at most.
LONGEST_SECONDS: Final = 24 * 3600

_AMOUNT: Final = re.compile(r"[0-9]{1,36}")
_NONCE: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_UNREADABLE: Final = "the service's payment terms cannot be read"


class Wallet:
    """The account of one private key, which is parsed on first use."""

    def __init__(self, key: str | Callable[[], str] | None) -> None:
        """Take the key in hexadecimal, or a function that fetches it."""
        self.key = key

    @property
    def is_given(self) -> bool:
        """Whether there is a key."""
        return self.key is not None

    @property
    def address(self) -> str:
        """The address of the account. Raises KeyNeeded, KeyInvalid."""
        return str(self._account().address)

    def sign(self, message: str) -> str:
        """Sign a message as wallets do (EIP-191) and return the signature in hexadecimal."""
        from eth_account.messages import encode_defunct  # noqa: PLC0415 -- half a second

        signed = self._account().sign_message(encode_defunct(text=message))
        return "0x" + str(signed.signature.hex()).removeprefix("0x")

    async def pay(
        self,
        reply: transport.Reply,
        url: str,
        path: str,
        idempotency_key: str,
        cap_usd: Decimal,
        book: ledger.Ledger,
    ) -> spending.Sent:
        """Sign what a 402 answer to `url + path` asks for, within the cap and the ledger's limits.

        Raises OverCap, OverLimit, LedgerUnusable, KeyNeeded, UnexpectedAnswer.
        """
        from x402.http.x402_http_client import x402HTTPClient  # noqa: PLC0415 -- a second
        from x402.schemas import NoMatchingRequirementsError  # noqa: PLC0415 -- the same

        account = self._account()
        async with _Entry(book, url, path, account.address) as entry:
            paying = x402HTTPClient(_x402_client(account, cap_usd, entry))
            try:
                headers, payload = await paying.handle_402_response(
                    dict(reply.headers), reply.body, url + path
                )
            except NoMatchingRequirementsError:
                raise errors.OverCap(f"the price is over the cap of {cap_usd} USD") from None
            except (AttributeError, LookupError, TypeError, ValueError):
                raise errors.UnexpectedAnswer(_UNREADABLE) from None  # the SDK does not validate it
            await entry.note(payload, idempotency_key, headers)
        return spending.Sent(
            payment_id=entry.payment_id, payer=account.address.lower(), headers=headers
        )

    def _account(self) -> Any:
        if self.key is None:
            raise errors.KeyNeeded("this call needs a payment or a signature: give a wallet's key")
        from eth_account import Account  # noqa: PLC0415 -- half a second, which most calls avoid

        if not isinstance(self.key, str):
            self.key = self.key()
        try:
            return Account.from_key(self.key.strip())
        except Exception:  # noqa: BLE001 -- many types, and some quote the key
            raise errors.KeyInvalid("this is not the private key of a wallet") from None


class _Entry:
    """One payment's line in the ledger; a reservation that is not sent is given back."""

    def __init__(self, book: ledger.Ledger, service: str, path: str, payer: str) -> None:
        self._book = book
        self._service = service
        self._path = path
        self._payer = payer
        self._amount_atomic = 0
        self._is_sent = False
        self.payment_id = 0

    async def __aenter__(self) -> "_Entry":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.payment_id and not self._is_sent:
            with contextlib.suppress(errors.LedgerUnusable):  # it lapses by itself
                await threads.run(self._book.release, self.payment_id)

    async def reserve(self, context: Any) -> None:
        """Reserve what the SDK is about to sign. Raises OverLimit, LedgerUnusable."""
        chosen = context.selected_requirements
        terms = self._terms(chosen, str(chosen.get_amount()))
        try:
            self.payment_id = await threads.run(self._book.reserve, terms)
        except errors.OverLimit:
            await reckoning.free(self._book)
            self.payment_id = await threads.run(self._book.reserve, terms)
        self._amount_atomic = terms.amount_atomic

    async def note(self, payload: Any, idempotency_key: str, headers: Mapping[str, str]) -> None:
        """Note what the SDK has signed. Raises LedgerUnusable, UnexpectedAnswer."""
        signed = payload.payload.get("authorization", {})
        nonce, valid_before = str(signed.get("nonce")), str(signed.get("validBefore"))
        is_ours = str(signed.get("value")) == str(self._amount_atomic) and self.payment_id
        if not (is_ours and _NONCE.fullmatch(nonce) and _AMOUNT.fullmatch(valid_before)):
            raise errors.UnexpectedAnswer(_UNREADABLE)
        told = spending.Signed(
            nonce=nonce.lower(),
            valid_before=int(valid_before),
            idempotency_key=idempotency_key,
            headers=headers,
        )
        await threads.run(self._book.note_sent, self.payment_id, told)
        self._is_sent = True

    def _terms(self, chosen: Any, amount: str) -> spending.Terms:
        from x402.mechanisms.evm.default_assets import find_default_asset  # noqa: PLC0415 -- slow

        asset = find_default_asset(chosen.asset, chosen.network)
        if asset is None or not _AMOUNT.fullmatch(amount):
            raise errors.UnexpectedAnswer(_UNREADABLE)
        return spending.Terms(
            service=self._service,
            what=self._path,
            payer=self._payer.lower(),
            network=chain.caip2(chosen.network),
            asset=asset["asset"].lower(),
            amount_atomic=int(amount),
            decimals=asset["decimals"],
        )


def _x402_client(account: Any, cap_usd: Decimal, entry: _Entry) -> Any:
    from x402 import x402Client  # noqa: PLC0415 -- a second, which most calls avoid
    from x402.mechanisms.evm.exact import register_exact_evm_client  # noqa: PLC0415 -- the same

    client = register_exact_evm_client(x402Client(), account, policies=[_only_transfers])
    client.set_spend_controls({"max_amount_per_payment": f"${cap_usd}"})
    client.on_before_payment_creation(entry.reserve)
    return client


def _only_transfers(_version: int, offers: list[Any]) -> list[Any]:
    """Keep the offers that move the amount once, and soon: EIP-3009 authorizations.

    For others the SDK would sign allowances, which the ledger could not keep to an amount.
    """
    return [offer for offer in offers if _is_transfer(offer.extra or {}, offer.max_timeout_seconds)]


def _is_transfer(extra: Any, seconds: int) -> bool:
    told = extra if isinstance(extra, dict) else {}
    is_plain = told.get("assetTransferMethod", "eip3009") == "eip3009"
    is_direct = told.get("paymentFlow", "authorization") == "authorization"
    return is_plain and is_direct and 0 < seconds <= LONGEST_SECONDS
