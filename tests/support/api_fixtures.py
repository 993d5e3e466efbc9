"""The HTTP layer over a lease service in memory."""

import dataclasses
import types
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import asgi, fake_leases, fake_private_images, guest_work

from pve402.api import app, context, gate
from pve402.api.transport import address, guard
from pve402.domain import errors
from pve402.leases import access, ports, redeeming, request_rates, service
from pve402.payments import sign_in, wallet

PAY_TO = "0x209693bc6afc0c5328ba36faf03c514ef312287c"
NETWORK = "eip155:84532"
PUBLIC_URL = "https://rent.example.com"

BODY: dict[str, Any] = {
    "sku": "standard-lxc",
    "runtimeMinutes": 60,
    "hostname": "demo-server",
    "cores": 1,
    "memoryMB": 512,
    "diskGB": 8,
    "password": "root_password_here",
}


@dataclasses.dataclass(kw_only=True)
class FakeAccess:
    """Tokens by their text."""

    callers: dict[str, service.Caller] = dataclasses.field(default_factory=dict)
    signed: dict[tuple[str, str], service.Caller] = dataclasses.field(default_factory=dict)
    """By header and address of the route."""
    revoked: list[str] = dataclasses.field(default_factory=list)

    async def authenticate(self, token: str) -> service.Caller:
        if token not in self.callers:
            raise errors.Unauthenticated
        return self.callers[token]

    def offer_sign_in(self, _method: str, url: str, network: str) -> str:
        issued_at = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
        offer = sign_in.Offer(
            domain="rent.example.com",
            uri=url,
            statement=wallet.STATEMENT,
            nonce="ab" * 28,
            issued_at=sign_in.written(issued_at),
            expires_at=sign_in.written(issued_at + timedelta(minutes=5)),
        )
        return offer.extension(network)

    async def sign_in(
        self, header: str, _method: str, url: str, client_address: str | None
    ) -> service.Caller:
        if (header, url) not in self.signed:
            raise errors.Unauthenticated("this challenge was already used; ask for a new one")
        return self.signed.pop((header, url))

    async def revoke(self, token: str) -> None:
        await self.authenticate(token)
        self.revoked.append(token)

    async def issue_token(self, message: str, signature: str, **how: Any) -> access.IssuedToken:
        return access.IssuedToken(
            token="issued-token-0123456789",
            owner=f"{NETWORK}:{PAY_TO}",
            lease_id=how["lease_id"],
            scope=frozenset(how["scope"] or ["*"]),
            expires_at=how["expires_at"],
        )


class NobodyIsOwed:
    """Nothing is owed to anybody."""

    async def list_of(self, _caller: service.Caller) -> redeeming.Holding:
        return redeeming.Holding(debts=[], undelivered=[])

    async def redeem(self, *_: Any, **__: Any) -> None:
        raise errors.OwedNotFound


@dataclasses.dataclass(kw_only=True)
class Api:
    """The application, a client of it, and what stands behind it."""

    leases: fake_leases.FakeLeases
    images: fake_private_images.FakePrivateImages
    access: FakeAccess
    checks: dict[str, bool]
    app: Any
    client: asgi.Asgi
    unreadable: set[str]
    """Networks whose chain cannot be read."""


def make_api(
    *,
    networks: tuple[str, ...] = (NETWORK,),
    trusted: tuple[str, ...] = (),
    stats_fields: frozenset[str] = frozenset({"cpu", "memory", "disk"}),
    has_shop: bool = True,
    **limits: Any,
) -> Api:
    """Put an application together for a test."""
    leases, tokens, checks = fake_leases.FakeLeases(), FakeAccess(), {"database": True}
    images = fake_private_images.FakePrivateImages()
    unreadable: set[str] = set()

    async def readiness() -> dict[str, bool]:
        return checks

    options = gate.GateOptions(
        networks=networks,
        pay_to=PAY_TO,
        public_url=PUBLIC_URL,
        payment_seconds=600,
        create_wait_seconds=5,
    )
    made = context.Context(
        leases=leases,  # type: ignore[arg-type]
        redeeming=NobodyIsOwed(),  # type: ignore[arg-type]
        images=images,  # type: ignore[arg-type]
        forks=types.SimpleNamespace(check_on=lambda: None),  # type: ignore[arg-type]
        access=tokens,  # type: ignore[arg-type]
        gate=gate.Gate(
            options,
            address.ClientAddresses(trusted),
            is_readable=lambda network: network not in unreadable,
        ),
        rates=request_rates.RequestRates(None),  # type: ignore[arg-type]  # counts nothing
        work=guest_work.unreachable(),
        ports=ports.Ports(None, tokens, None),  # type: ignore[arg-type]
        stats_fields=stats_fields,
        readiness=readiness,
        has_shop=has_shop,
    )
    bounds = {
        "requests": 100,
        "paid_requests": 50,
        "request_seconds": 5.0,
        "paid_request_seconds": 10.0,
    }
    application = app.assemble(
        made,
        public_url=PUBLIC_URL,
        limits=guard.GuardLimits(**(bounds | limits)),
        cors_origins=("*",),
    )
    return Api(
        leases=leases,
        images=images,
        access=tokens,
        checks=checks,
        app=application,
        unreadable=unreadable,
        client=asgi.Asgi(application),
    )


@pytest.fixture
def api() -> Api:
    """An application with the usual settings."""
    return make_api()
