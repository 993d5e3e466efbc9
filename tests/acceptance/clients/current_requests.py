"""Makes paid calls with the requests client of x402 version 2, and prints one JSON line for each.

usage: python current_requests.py URL < CALLS     (CALLS: a JSON list of [method, path, body])
The wallet's key stands in WALLET_KEY. The client is as it comes: no cap is raised.
"""

import base64
import json
import os
import sys

from eth_account import Account
from x402 import x402ClientSync
from x402.http.clients.requests import x402_requests
from x402.mechanisms.evm.exact import register_exact_evm_client

account = Account.from_key(os.environ["WALLET_KEY"])
session = x402_requests(register_exact_evm_client(x402ClientSync(), account))
ctid = ""
for method, path, body in json.load(sys.stdin):
    url = sys.argv[1] + path.replace("{ctid}", ctid)
    response = session.request(method, url, json=body, timeout=60)
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
