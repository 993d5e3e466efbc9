"""An address and a wallet get so many answers a minute, from all replicas together."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support import asgi, migrated, wallets
from tests.support.api_fixtures import BODY
from tests.support.installation import Installation, World, creation, running

from pve402.api import app as application
from pve402.domain import errors, lease
from pve402.leases import request_rates
from pve402.storage import database
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

HERE, THERE = "203.0.113.7", "2001:db8::/64"


class Clock:
    """A replica's clock, in the middle of a minute."""

    now = 60_030.0

    def __call__(self) -> float:
        return self.now


def replica(db: database.Database, **limits: int) -> request_rates.RequestRates:
    return request_rates.RequestRates(db, clock=lambda: time.time() + db.shift_seconds, **limits)


class Away:
    """A database that cannot be reached."""

    def begin(self) -> Any:
        raise errors.DatabaseUnavailable


def begin_minute(made: Installation) -> None:
    """Let time pass until 20 seconds of a minute are over, so that none ends during a test."""
    db = made.parts.db
    made.pass_time(80 - (time.time() + db.shift_seconds) % 60)
    made.parts.rates.clock = lambda: time.time() + db.shift_seconds


def answered(rates: request_rates.RequestRates, times: int, address: str = HERE) -> int:
    """How many of so many requests are let in."""
    let_in = 0
    for _ in range(times):
        try:
            rates.count_address(address)
        except errors.RateLimited:
            continue
        let_in += 1
    return let_in


@pytest.fixture
async def db(database_url: str) -> Any:
    drivers = {"sqlite:": "sqlite+aiosqlite:", "postgresql:": "postgresql+asyncpg:"}
    kind, _, rest = database_url.partition(":")
    url = migrated.lay_sqlite(drivers[f"{kind}:"] + rest)
    opened = await database.Database(url).open()
    opened.shift_seconds = 20 - time.time() % 60  # no minute ends during a test
    yield opened
    await opened.close()


def test_requests_beyond_the_limit_wait_for_the_next_minute() -> None:
    clock = Clock()
    rates = request_rates.RequestRates(None, of_address=3, clock=clock)  # type: ignore[arg-type]

    assert answered(rates, 5) == 3
    assert answered(rates, 5, THERE) == 3
    with pytest.raises(errors.RateLimited, match="3 requests a minute of one address") as told:
        rates.count_address(HERE)
    assert told.value.retry_after_seconds == 30
    clock.now += 30
    assert answered(rates, 5) == 3


def test_nothing_is_counted_without_a_limit() -> None:
    rates = request_rates.RequestRates(None, of_wallet=1)  # type: ignore[arg-type]

    assert answered(rates, 1000) == 1000


async def test_replicas_count_together(db: database.Database) -> None:
    one, two = (replica(db, of_address=10) for _ in range(2))

    first = answered(one, 8)
    for each in (one, two, one, two):
        await each.share()
    for each in (one, two):
        answered(each, 1)  # a replica learns of an address once it is asked by it
    await two.share()
    await one.share()

    assert first == 8
    assert answered(one, 5) + answered(two, 5) <= 2


async def test_many_parties_are_shared_in_parts(db: database.Database) -> None:
    one, two = (replica(db, of_address=2) for _ in range(2))
    parties = [f"10.0.{n // 250}.{n % 250}" for n in range(1200)]
    for each in (one, two):
        for party in parties:
            each.count_address(party)
        await each.share()

    assert {answered(two, 1, party) for party in parties} == {0}


async def test_replicas_that_share_at_once_do_not_block_each_other(db: database.Database) -> None:
    one, two = (replica(db, of_address=9) for _ in range(2))
    parties = [f"10.0.{n // 250}.{n % 250}" for n in range(2000)]
    for each, order in ((one, parties), (two, parties[::-1])):
        for party in order:
            each.count_address(party)

    await asyncio.gather(one.share(), two.share())

    for each in (one, two):
        for party in parties[::250]:
            each.count_address(party)
        await each.share()
    assert {answered(two, 9, party) for party in parties[::250]} == {5}


async def test_what_cannot_be_shared_still_counts() -> None:
    away: Any = Away()
    rates = request_rates.RequestRates(away, of_address=3, clock=Clock())
    answered(rates, 2)

    with pytest.raises(errors.DatabaseUnavailable):
        await rates.share()

    assert answered(rates, 5) == 1


async def test_the_limits_hold_before_anything_is_charged(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    limits = {"pve402_address_requests_a_minute": 8, "pve402_wallet_requests_a_minute": 2}
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, proxmox, chain, facilitator, **limits) as made:
        begin_minute(made)
        http = asgi.Asgi(application.create_app(made.parts))
        key, other = made.tenant(), made.tenant()
        signed = [
            wallets.payment_headers(one, await http.post("/lease/container", BODY))
            for one in (key, key, key, other)
        ]

        paid = [await http.post("/lease/container", BODY, headers=each) for each in signed]
        refused = await http.get("/catalogue")
        always = await http.get("/readyz")

        assert [reply.status for reply in paid] == [200, 200, 429, 200]
        assert paid[2].json()["code"] == "rate_limited"
        assert 20 <= int(paid[2].headers["retry-after"]) <= 41
        assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
        assert always.status == 200
        assert made.earned == 3 * 21_800


async def called(made: Installation, row: lease.Lease, *, by_key: bool = True) -> bool:
    """Whether the owner of a lease is let in."""
    try:
        await made.parts.rates.count_caller(row.owner, by_key=by_key)
    except errors.RateLimited:
        return False
    return True


async def test_new_wallets_share_a_number_of_requests_that_known_ones_do_not_use(
    world: World, database_url: str
) -> None:
    async with running(database_url, *world, pve402_new_wallet_requests_a_minute=3) as made:
        known = (await made.lease()).lease
        made.pass_time(25 * 3600)
        new = [(await made.lease()).lease for _ in range(2)]
        begin_minute(made)

        of_new = [await called(made, row) for row in (*new, *new)]
        of_known = [await called(made, known) for _ in range(5)]

        assert of_new == [True, True, True, False]
        assert of_known == [True] * 5
        with pytest.raises(errors.RateLimited, match="3 requests a minute of all new wallets"):
            await called_by_a_contract(made)


async def called_by_a_contract(made: Installation) -> None:
    """A request that names a contract wallet as its payer, which anybody could."""
    payment = made.buy(made.tenant(), creation(), by_key=False)
    await made.parts.rates.count_payer(payment)


async def test_many_addresses_do_not_free_new_wallets_from_their_limit(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_rates, "MOST_PARTIES", 2)
    limits = {"pve402_new_wallet_requests_a_minute": 1, "pve402_address_requests_a_minute": 1}
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, **limits) as made:
        row = (await made.lease()).lease
        begin_minute(made)
        for party in range(3):
            made.parts.rates.count_address(f"10.0.0.{party}")

        assert [await called(made, row) for _ in range(2)] == [True, False]


async def test_a_new_wallet_is_asked_to_wait_before_anything_is_charged(
    world: World, tmp_path: Path
) -> None:
    limits = {"pve402_new_wallet_requests_a_minute": 2}
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, **limits) as made:
        begin_minute(made)
        http = asgi.Asgi(application.create_app(made.parts))
        unpaid = [await http.post("/lease/container", BODY) for _ in range(5)]
        signed = [wallets.payment_headers(made.tenant(), each) for each in unpaid[:3]]

        paid = [await http.post("/lease/container", BODY, headers=each) for each in signed]
        token = {"Authorization": f"Bearer {paid[0].json()['accessToken']}"}
        listed = await http.get("/management/list", headers=token)
        shown = (await http.get("/catalogue")).json()["limits"]

        assert [reply.status for reply in (*unpaid, *paid)] == [402] * 5 + [200, 200, 429]
        assert (listed.status, listed.json()["code"]) == (429, "rate_limited")
        assert 20 <= int(listed.headers["retry-after"]) <= 41
        assert shown["newWalletRequestsAMinute"] == 2
        assert made.earned == 2 * 21_800
