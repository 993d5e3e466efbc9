"""A tenant's wallet: signs challenges, and pays with the official x402 client within a cap.

The libraries take about a second to import, so they are imported only to sign or pay.
"""

from decimal import Decimal
from typing import Any

from pve402.client import errors, transport


class Wallet:
    """The account of one private key, which is parsed on first use."""

    def __init__(self, key: str | None) -> None:
        """Take the key in hexadecimal."""
        self._key = key

    @property
    def is_given(self) -> bool:
        """Whether there is a key."""
        return self._key is not None

    @property
    def address(self) -> str:
        """The address of the account. Raises KeyNeeded, KeyInvalid."""
        return str(self._account().address)

    def sign(self, message: str) -> str:
        """Sign a message as wallets do (EIP-191) and return the signature in hexadecimal."""
        from eth_account.messages import encode_defunct  # noqa: PLC0415 -- half a second

        signed = self._account().sign_message(encode_defunct(text=message))
        return "0x" + str(signed.signature.hex()).removeprefix("0x")

    async def pay(self, reply: transport.Reply, url: str, cap_usd: Decimal) -> dict[str, str]:
        """Return the headers that pay what a 402 answer asks for.

        Raises OverCap, KeyNeeded, UnexpectedAnswer.
        """
        from x402.http.x402_http_client import x402HTTPClient  # noqa: PLC0415 -- a second
        from x402.schemas import NoMatchingRequirementsError  # noqa: PLC0415 -- the same

        wallet = x402HTTPClient(_x402_client(self._account(), cap_usd))
        try:
            headers, _payload = await wallet.handle_402_response(
                dict(reply.headers), reply.body, url
            )
        except NoMatchingRequirementsError:
            raise errors.OverCap(f"the price is over the cap of {cap_usd} USD") from None
        except (AttributeError, LookupError, TypeError, ValueError):  # the SDK does not validate it
            raise errors.UnexpectedAnswer("the service's payment terms cannot be read") from None
        return dict(headers)

    def _account(self) -> Any:
        if self._key is None:
            raise errors.KeyNeeded("this call needs a payment or a signature: give a wallet's key")
        from eth_account import Account  # noqa: PLC0415 -- half a second, which most calls avoid

        try:
            return Account.from_key(self._key.strip())
        except Exception:  # noqa: BLE001 -- many types, and some quote the key
            raise errors.KeyInvalid("this is not the private key of a wallet") from None


def _x402_client(account: Any, cap_usd: Decimal) -> Any:
    from x402 import x402Client  # noqa: PLC0415 -- a second, which most calls avoid
    from x402.mechanisms.evm.exact import register_exact_evm_client  # noqa: PLC0415 -- the same

    client = register_exact_evm_client(x402Client(), account)
    client.set_spend_controls({"max_amount_per_payment": f"${cap_usd}"})
    return client
