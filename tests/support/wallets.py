"""Wallets of tests: sign x402 payments with the official SDK, for either wire version."""

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from eth_account import Account
from x402 import x402ClientSync
from x402.http.x402_http_client import x402HTTPClientSync
from x402.mechanisms.evm.exact import register_exact_evm_client

ALICE = Account.from_key("0x" + "a1" * 32)
BOB = Account.from_key("0x" + "b2" * 32)


def payment_headers(
    account: Any, challenge: Any, *, version: int = 2, url: str = "http://test"
) -> dict[str, str]:
    """Sign what a 402 answer asks for; `challenge` has `headers` and `body`."""
    client = x402HTTPClientSync(register_exact_evm_client(x402ClientSync(), account))
    headers = dict(challenge.headers) if version == 2 else {}
    paid, _payload = client.handle_402_response(headers, challenge.body, url)
    return paid


@dataclasses.dataclass(frozen=True)
class Terms:
    """A 402 answer as `payment_headers` takes it."""

    headers: Mapping[str, str]
    body: bytes


def of(reply: Any) -> Terms:
    """The 402 answer that `requests` received."""
    return Terms(headers=dict(reply.headers), body=reply.content)


def decoded(header: str) -> Any:
    """What a payment header holds."""
    return json.loads(base64.b64decode(header))


def encoded(document: Any) -> str:
    """A payment header that holds `document`."""
    return base64.b64encode(json.dumps(document).encode()).decode()
