"""Makes paid calls with the httpx client of x402 version 2, and prints one JSON line for each.

usage: python current_httpx.py URL < CALLS     (CALLS: a JSON list of [method, path, body])
The wallet's key stands in WALLET_KEY. The client is as it comes: no cap is raised.
"""

import asyncio
import base64
import json
import os
import sys

from eth_account import Account
from x402 import x402Client
from x402.http.clients.httpx import x402HttpxClient
from x402.mechanisms.evm.exact import register_exact_evm_client


async def main() -> None:
    account = Account.from_key(os.environ["WALLET_KEY"])
    payer = register_exact_evm_client(x402Client(), account)
    ctid = ""
    async with x402HttpxClient(payer, base_url=sys.argv[1], timeout=60) as client:
        for method, path, body in json.load(sys.stdin):
            response = await client.request(method, path.replace("{ctid}", ctid), json=body)
            answer = response.json()
            if isinstance(answer, dict):
                ctid = answer.get("ctid") or ctid
            receipt = response.headers.get("PAYMENT-RESPONSE")
            line = {
                "status": response.status_code,
                "answer": answer,
                "receipt": json.loads(base64.b64decode(receipt)) if receipt else None,
            }
            print(json.dumps(line), flush=True)


asyncio.run(main())
