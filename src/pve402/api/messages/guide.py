"""What the service tells programs that look for it: a guide for models, and a list of resources.

`/llms.txt` has the form that llmstxt.org proposes. `/.well-known/x402` has what the readers of its
several forms agree on: a version and the addresses that ask for payments. Crawlers find the rest in
the OpenAPI document.
"""

from typing import Any

from pve402.api.messages import prices
from pve402.domain import catalogue

GUIDANCE = (
    "Ask POST /lease/container without a payment: the 402 has the price and the terms. Sign them "
    "with an x402 client and send the same request again; the answer has an accessToken. Send it "
    "as Authorization: Bearer TOKEN to POST /management/exec/{ctid} and all other routes of the "
    "lease, which are free then. GET /catalogue lists what is on sale, POST /lease/quote prices a "
    "request; both are free."
)

_GUIDE = """\
# pve402

> Linux containers by the minute, with root, paid with USDC over x402. No account, no API key.

Address: {url}

1. `GET {url}/catalogue` lists what is on sale and the networks to pay on; it is free.
2. `POST {url}/lease/container` with a JSON body such as
   `{{"sku": "{sku}", "runtimeMinutes": {minutes}, "password": "..."}}` answers 402 with the price.
   An x402 client (version 1 or 2) pays it and sends the request again.
3. The answer has `ctid` and `accessToken`. With `Authorization: Bearer TOKEN` every other route of
   the lease is free: run commands, move files, publish ports, renew (at its price), end.

`pip install pve402` has a command line and a client for Python; any other x402 client works too.

{skus}

Management calls without a token cost {fee} USD, or nothing to a wallet that signs in: once with
`POST /auth/challenge`, or for each call with the header `SIGN-IN-WITH-X`, from what its 402 offers
(a nonce works once, for that method and address). A container that does not come up is not paid
for. An early end is not refunded.

## API

- [OpenAPI document]({url}/openapi.json): every route, its fields, its errors and its price
- [The same for people]({url}/docs): a page to read it in
- [Catalogue]({url}/catalogue): skus, bounds, rates, networks and limits as JSON
"""


def guide(public_url: str, on_sale: catalogue.Catalogue) -> str:
    """Return the text of `/llms.txt`."""
    sku = min(on_sale.skus.values(), key=catalogue.Sku.lowest_price_usd)
    return _GUIDE.format(
        url=public_url,
        sku=sku.name,
        minutes=max(sku.runtime_minutes.least, min(60, sku.runtime_minutes.most)),
        skus="\n".join(_line(each) for each in on_sale.skus.values()),
        fee=prices.usd(on_sale.management_fee_usd),
    )


def resources(public_url: str) -> dict[str, Any]:
    """Return the document of `/.well-known/x402`."""
    return {
        "version": 1,
        "resources": [f"{public_url}/lease/container"],
        "instructions": GUIDANCE,
    }


def _line(sku: catalogue.Sku) -> str:
    """Describe a sku in one line."""
    bounds = (
        f"{sku.cores.least}-{sku.cores.most} cores",
        f"{sku.memory_mb.least}-{sku.memory_mb.most} MiB of memory",
        f"{sku.disk_gb.least}-{sku.disk_gb.most} GiB of disk",
        f"{sku.runtime_minutes.least}-{sku.runtime_minutes.most} minutes",
    )
    said = " ".join(sku.description.split())
    words = f" {said.rstrip('.')}." if said else ""
    least = prices.usd(sku.lowest_price_usd())
    return f"- `{sku.name}`:{words} {', '.join(bounds)}; from {least} USD."
