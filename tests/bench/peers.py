"""What a seller would use instead, served as our own server is: one worker, uvloop, httptools.

    python -m tests.bench.peers KIND PORT [FACILITATOR_URL]

`bare` is a FastAPI route that reads the same body into the same schema and answers the same bytes.
`official` is FastAPI behind the middleware of the x402 SDK with the same price. `raw` is an ASGI
function that answers the bytes and looks at nothing. `stub` is a facilitator that agrees at once.
"""

import gc
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI, Request, Response
from pydantic import ConfigDict
from x402 import x402ResourceServer
from x402.http import HTTPFacilitatorClient
from x402.http.middleware import fastapi as middleware
from x402.mechanisms.evm.exact import register_exact_evm_server

from pve402 import schemas
from pve402.payments import protocol

NETWORK = "eip155:84532"
PAY_TO = "0x209693bc6afc0c5328ba36faf03c514ef312287c"
TRANSACTION = "0x" + "5e" * 32
_KIND = {"x402Version": 2, "scheme": "exact", "network": NETWORK}


class Wish(schemas.LeaseRequest):
    """Our schema as a route's parameter has it: built at once, and not at its first use."""

    model_config = ConfigDict(defer_build=False)


def bare(_facilitator_url: str) -> FastAPI:
    """FastAPI as its documentation shows it; the challenge is made once."""
    app = FastAPI()
    asked = challenge()

    @app.post("/lease/container")
    async def create(wish: Wish) -> Response:
        del wish
        return Response(asked.body, 402, headers=dict(asked.headers))

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def official(facilitator_url: str) -> FastAPI:
    """The routes that cost money, behind the official middleware."""
    app = FastAPI()
    server = x402ResourceServer(HTTPFacilitatorClient({"url": facilitator_url}))
    register_exact_evm_server(server)
    price = {"scheme": "exact", "payTo": PAY_TO, "network": NETWORK}
    routes: dict[str, Any] = {
        "POST /lease/container": {"accepts": {**price, "price": "$0.0218"}},
        "GET /management/list": {"accepts": {**price, "price": "$0.001"}},
    }
    guard = middleware.payment_middleware(routes, server)

    @app.middleware("http")
    async def _charge(request: Request, call_next: Callable[[Request], Any]) -> Response:
        answer: Response = await guard(request, call_next)
        return answer

    @app.post("/lease/container")
    async def create(wish: Wish) -> dict[str, str]:
        return {"sku": wish.sku}

    @app.get("/management/list")
    async def leases() -> list[str]:
        return []

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def raw(_facilitator_url: str) -> Any:
    """The least that can be done in Python."""
    asked = challenge()
    headers = [(name.lower().encode(), value.encode()) for name, value in asked.headers.items()]
    headers.append((b"content-length", str(len(asked.body)).encode()))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receive()
            await send({"type": "http.response.start", "status": 402, "headers": headers})
            await send({"type": "http.response.body", "body": asked.body})

    return app


def stub(_facilitator_url: str) -> Any:
    """A facilitator that believes everybody and takes no time."""
    app = FastAPI()

    @app.get("/supported")
    async def supported() -> dict[str, Any]:
        kinds = [_KIND, {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"}]
        return {"kinds": kinds, "extensions": [], "signers": {}}

    @app.post("/verify")
    async def verify(request: Request) -> dict[str, Any]:
        return {"isValid": True, "payer": _payer(await request.json())}

    @app.post("/settle")
    async def settle(request: Request) -> dict[str, Any]:
        done = {"success": True, "transaction": TRANSACTION, "network": NETWORK}
        return {**done, "payer": _payer(await request.json())}

    return app


def challenge() -> protocol.PaymentRequired:
    """The 402 of a small lease."""
    terms = protocol.Requirements(
        network=NETWORK,
        amount_atomic=21_800,
        pay_to=PAY_TO,
        max_timeout_seconds=600,
        resource_url="http://127.0.0.1:4021/lease/container",
        description="A new lease",
    )
    return protocol.payment_required((terms,))


def _payer(asked: dict[str, Any]) -> str:
    payer: str = asked["paymentPayload"]["payload"]["authorization"]["from"]
    return payer


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()


def main() -> None:
    """Serve one peer until a signal."""
    kind, port, *rest = sys.argv[1:]
    make = {"bare": bare, "official": official, "raw": raw, "stub": stub}[kind]
    config = uvicorn.Config(
        make(rest[0] if rest else ""), port=int(port), log_config=None, access_log=False
    )
    uvloop.run(_Server(config).serve())


if __name__ == "__main__":
    main()
