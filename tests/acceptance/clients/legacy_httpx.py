"""Runs in the environment of x402 1.0: makes paid calls with its httpx client, one JSON line each.

usage: python legacy_httpx.py URL < CALLS     (CALLS: a JSON list of [method, path, body])
The wallet's key stands in WALLET_KEY.
"""

import asyncio
import base64
import json
import os
import sys
import types
from pathlib import Path

import x402
from eth_account import Account

# `x402.clients` imports all of its clients at once, and only httpx is installed here.
clients = types.ModuleType("x402.clients")
clients.__path__ = [str(Path(x402.__file__).parent / "clients")]
sys.modules["x402.clients"] = clients

from x402.clients.httpx import x402HttpxClient  # noqa: E402


async def main() -> None:
    account = Account.from_key(os.environ["WALLET_KEY"])
    ctid = ""
    for method, path, body in json.load(sys.stdin):
        # This client pays once in its life, and its spend cap is that of 1.0: 0.10 USD.
        async with x402HttpxClient(
            account=account, max_value=100_000, base_url=sys.argv[1], timeout=60
        ) as client:
            response = await client.request(method, path.replace("{ctid}", ctid), json=body)
            await response.aread()
        answer = response.json()
        if isinstance(answer, dict):
            ctid = answer.get("ctid") or ctid
        receipt = response.headers.get("X-PAYMENT-RESPONSE")
        line = {
            "status": response.status_code,
            "answer": answer,
            "receipt": json.loads(base64.b64decode(receipt)) if receipt else None,
        }
        print(json.dumps(line), flush=True)


asyncio.run(main())
