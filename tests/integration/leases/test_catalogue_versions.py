"""The catalogue is replaced while the service runs, for all replicas; asked prices hold a while."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support import asgi, debts, wallets
from tests.support.api_fixtures import BODY
from tests.support.installation import Installation, creation, running

from pve402.api import app as application
from pve402.domain import catalogue, errors, lease
from pve402.leases import catalogue_versions
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

World = tuple[SimulatedProxmox, SimulatedChain, SimulatedFacilitator]
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
DEARER = SHIPPED.replace('"0.0002"', '"0.0004"').replace('"0.001"', '"0.003"')
DEAREST = SHIPPED.replace('"0.0002"', '"0.0008"')
BAD = SHIPPED + "nesting = 7\n"
NETWORK = """
[network.lan]
default = true
bridge = "vmbr0"
ipv4 = { subnet = "10.7.0.0/24", ranges = ["10.7.0.10-10.7.0.19"], gateway = "10.7.0.1" }
"""
ASKED, RAISED = 21_800, 33_800
POOL = "standard-lxc:1:512:8=1"


@pytest.fixture
def world(
    proxmox: SimulatedProxmox, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> World:
    """What the replicas of a test share."""
    return proxmox, chain, facilitator


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The operator's catalogue."""
    file = tmp_path / "catalogue.toml"
    file.write_text(SHIPPED)
    return file


@pytest.fixture
async def made(database_url: str, world: World, file: Path) -> AsyncIterator[Installation]:
    """An installation with a catalogue of its own."""
    async with running(database_url, *world, pve402_catalogue=file) as one:
        yield one


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """The address of an empty SQLite file; replicas share a PostgreSQL server instead."""
    return f"sqlite:///{tmp_path}/pve402.sqlite3"


def write(file: Path, text: str) -> None:
    """Change a file."""
    file.write_text(text)


async def until_version(made: Installation, number: int) -> None:
    """Wait until a version is on sale."""
    for _ in range(400):
        if made.leases.prices.version == number:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the version is not on sale")


def http_of(made: Installation) -> asgi.Asgi:
    """A client of an installation."""
    return asgi.Asgi(application.create_app(made.parts))


async def put(made: Installation, file: Path, text: str) -> None:
    """Change the file, and let the service see that it is at rest."""
    write(file, text)
    for _ in range(2):
        await made.parts.versions.look()


async def signed(made: Installation, key: LocalAccount) -> dict[str, str]:
    """The payment that a 402 asks for now."""
    return wallets.payment_headers(key, await http_of(made).post("/lease/container", BODY))


async def pay(made: Installation, headers: dict[str, str]) -> asgi.Reply:
    return await http_of(made).post("/lease/container", BODY, headers=headers)


def window_passes(made: Installation) -> None:
    """The time goes by within which asked prices hold."""
    made.pass_time(made.parts.settings.pve402_payment_seconds + 60)


def versions_of(made: Installation) -> tuple[int, str | None]:
    versions = made.leases.prices
    return versions.version, versions.problem


async def test_a_changed_file_is_on_sale_without_a_restart(made: Installation, file: Path) -> None:
    before = made.price_of(creation())

    await put(made, file, DEARER)

    assert (before, made.price_of(creation())) == (ASKED, RAISED)
    assert versions_of(made) == (2, None)


async def test_the_running_service_looks_by_itself(made: Installation, file: Path) -> None:
    write(file, DEARER)

    await until_version(made, 2)

    assert made.price_of(creation()) == RAISED


async def test_a_bad_file_keeps_the_old_one_and_says_why(made: Installation, file: Path) -> None:
    await put(made, file, BAD)

    shown = await http_of(made).get("/readyz")

    assert made.price_of(creation()) == ASKED
    assert shown.json()["catalogue"]["version"] == 1
    assert "nesting" in shown.json()["catalogue"]["problem"]
    assert str(file) not in json.dumps(shown.json())
    assert (await made.lease()).lease.status is lease.LeaseStatus.ACTIVE

    await put(made, file, DEARER)
    assert versions_of(made) == (2, None)


async def test_a_file_that_is_still_being_written_is_not_read(
    made: Installation, file: Path
) -> None:
    for text in (DEARER[: DEARER.index("# The same under")], DEARER):
        write(file, text)
        await made.parts.versions.look()
        assert made.leases.prices.version == 1

    await made.parts.versions.look()
    assert set(made.leases.catalogue.skus) == {"standard-lxc", "basic-lxc"}


async def test_a_file_that_is_gone_keeps_the_old_one(made: Installation, file: Path) -> None:
    await asyncio.to_thread(file.unlink)
    for _ in range(2):
        await made.parts.versions.look()

    assert made.price_of(creation()) == ASKED
    assert versions_of(made) == (1, "No such file or directory")


async def test_the_old_price_buys_until_its_payment_could_not_be_valid_any_more(
    made: Installation, file: Path
) -> None:
    first, second = made.tenant(), made.tenant()
    headers, late = await signed(made, first), await signed(made, second)
    await put(made, file, DEARER)

    bought = await pay(made, headers)
    window_passes(made)
    await made.parts.versions.look()
    refused = await pay(made, late)

    (row,) = await made.leases_now()
    assert bought.status == 200
    assert bought.json()["amount"] == str(ASKED)
    assert row.rates["core_minute_usd"] == "0.0002"
    assert refused.status == 402
    assert refused.json()["code"] == "payment_amount_mismatch"
    assert refused.json()["accepts"][0]["maxAmountRequired"] == str(RAISED)
    assert made.earned == ASKED


async def test_any_price_that_was_asked_for_lately_buys(made: Installation, file: Path) -> None:
    keys = [made.tenant() for _ in range(3)]
    payments = [await signed(made, keys[0])]
    for key, text in ((keys[1], DEARER), (keys[2], DEAREST)):
        await put(made, file, text)
        payments.append(await signed(made, key))

    amounts = [(await pay(made, headers)).json()["amount"] for headers in payments]

    assert amounts == [str(ASKED), str(RAISED), "57800"]


async def test_a_price_that_nobody_was_asked_for_buys_nothing(
    made: Installation, file: Path
) -> None:
    key = made.tenant()
    await put(made, file, DEAREST)
    headers = await signed(made, key)
    await put(made, file, SHIPPED)
    window_passes(made)
    await put(made, file, DEARER)

    assert (await pay(made, headers)).status == 402
    assert made.earned == 0


async def test_what_is_no_longer_sold_is_not_sold_at_an_old_price(
    made: Installation, file: Path
) -> None:
    headers = await signed(made, made.tenant())
    await put(made, file, SHIPPED.replace("[sku.standard-lxc]", "[sku.other]"))

    refused = await pay(made, headers)

    assert (refused.status, refused.json()["code"]) == (422, "unknown_sku")
    assert made.earned == 0


async def test_what_was_bought_is_told_again_after_its_sku_is_gone(
    made: Installation, file: Path
) -> None:
    headers = await signed(made, made.tenant())
    bought = await pay(made, headers)

    await put(made, file, SHIPPED.replace("[sku.standard-lxc]", "[sku.other]"))
    again = await pay(made, headers)
    window_passes(made)
    later = await pay(made, headers)

    assert (again.status, later.status) == (200, 200)
    told = {reply.json()["leaseId"] for reply in (bought, again, later)}
    assert len(told) == 1
    assert made.earned == ASKED


async def test_what_was_redeemed_is_told_again_after_its_sku_is_gone(
    made: Installation, file: Path
) -> None:
    key = made.tenant()
    debt = await debts.owing(made, key)
    named: dict[str, Any] = {"idempotency_key": "k" * 32, "client_address": None}
    wanted = functools.partial(
        made.parts.redeeming.redeem,
        debts.wallet(key),
        debt.owed_id,
        creation(),
        wait_seconds=20.0,
        **named,
    )
    first = await wanted()

    await put(made, file, SHIPPED.replace("[sku.standard-lxc]", "[sku.other]"))

    assert (await wanted()).lease.lease_id == first.lease.lease_id


async def test_the_old_price_buys_after_a_restart(
    database_url: str, world: World, file: Path
) -> None:
    async with running(database_url, *world, pve402_catalogue=file) as before:
        headers = await signed(before, before.tenant())

    write(file, DEARER)
    async with running(database_url, *world, pve402_catalogue=file) as after:
        bought = await pay(after, headers)

        assert bought.json()["amount"] == str(ASKED)
        assert after.price_of(creation()) == RAISED


async def test_a_renewal_and_a_call_hold_their_prices(made: Installation, file: Path) -> None:
    key = made.tenant()
    row = (await made.lease(key)).lease
    http, path = http_of(made), f"/lease/{row.lease_id}/renew"
    body = {"runtimeMinutes": 60}
    renewal = wallets.payment_headers(key, await http.post(path, body))
    call = wallets.payment_headers(key, await http.get("/management/list"))
    await put(made, file, DEARER)

    renewed = await http.post(path, body, headers=renewal)
    listed = await http.get("/management/list", headers=call)
    asked = (await http.post(path, body)).json()["accepts"][0]["maxAmountRequired"]

    assert (renewed.status, renewed.json()["amount"]) == (200, "19800")
    assert listed.status == 200
    assert asked == "31800"
    assert made.earned == ASKED + 19_800 + 1_000


async def test_leases_of_a_sku_that_is_gone_are_renewed_at_their_own_rates(
    made: Installation, file: Path
) -> None:
    key = made.tenant()
    row = (await made.lease(key)).lease
    await put(made, file, DEARER.replace("[sku.standard-lxc]", "[sku.other]"))

    renewal = made.renewal(key, row, 60)
    answer = await made.leases.renew(row, 60, renewal)

    assert renewal.payment.amount_atomic == 19_800
    assert answer.lease.expires_at is not None
    assert row.expires_at is not None
    assert answer.lease.expires_at > row.expires_at


async def test_a_restart_with_a_bad_file_sells_what_was_on_sale(
    database_url: str, world: World, file: Path
) -> None:
    async with running(database_url, *world, pve402_catalogue=file):
        pass
    write(file, BAD)

    async with running(database_url, *world, pve402_catalogue=file) as again:
        assert again.price_of(creation()) == ASKED
        assert "nesting" in (again.leases.prices.problem or "")


async def test_a_first_start_with_a_bad_file_fails(
    database_url: str, world: World, file: Path
) -> None:
    write(file, BAD)

    with pytest.raises(catalogue.CatalogueError, match=rf"{file.name}: .*nesting"):
        async with running(database_url, *world, pve402_catalogue=file):
            pass


@pytest.fixture
def postgres(migrated_url: str) -> str:
    return migrated_url.replace("postgresql+asyncpg://", "postgresql://")


@pytest.mark.postgres
async def test_replicas_sell_one_version(
    postgres: str, world: World, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    write(other, SHIPPED)
    async with (
        running(postgres, *world, pve402_catalogue=file) as one,
        running(postgres, *world, pve402_catalogue=other) as two,
    ):
        key, slow = one.tenant(), one.tenant()
        headers = await signed(one, key)
        await put(one, file, DEARER)
        asked_anew = await signed(one, slow)

        at_other = await pay(two, asked_anew)  # it has not read the new version yet
        bought = await pay(two, headers)
        await two.parts.versions.look()

        assert at_other.json()["amount"] == str(RAISED)
        assert bought.json()["amount"] == str(ASKED)
        assert versions_of(one) == (2, None)
        assert two.leases.prices.version == 2
        assert "differs" in (two.leases.prices.problem or "")


@pytest.mark.postgres
async def test_replicas_with_different_files_do_not_take_turns(
    postgres: str, world: World, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    write(other, DEARER)
    for each in (file, other):
        os.utime(each, (1_700_000_000, 1_700_000_000))
    async with running(postgres, *world, pve402_catalogue=file):
        async with running(postgres, *world, pve402_catalogue=other) as newer:
            for _ in range(3):
                await newer.parts.versions.look()
            assert versions_of(newer) == (2, None)

        async with running(postgres, *world, pve402_catalogue=file) as restarted:
            for _ in range(3):
                await restarted.parts.versions.look()
            number, problem = versions_of(restarted)
            assert number == 2
            assert "differs" in (problem or "")

            await restarted.parts.versions.publish()  # as `ops catalogue reload` does
            assert versions_of(restarted) == (3, None)

        os.utime(file)  # written again, and so the newest change
        async with running(postgres, *world, pve402_catalogue=other) as third:
            assert third.leases.prices.version == 3


@pytest.mark.postgres
async def test_two_changes_at_once_make_two_versions(
    postgres: str, world: World, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    write(other, SHIPPED)
    async with (
        running(postgres, *world, pve402_catalogue=file) as one,
        running(postgres, *world, pve402_catalogue=other) as two,
    ):
        write(file, DEARER)
        write(other, DEAREST)
        await asyncio.gather(one.parts.versions.publish(), two.parts.versions.publish())
        for each in (one, two):
            for _ in range(3):
                await each.parts.versions.look()

        assert {versions_of(each)[0] for each in (one, two)} == {3}
        assert one.price_of(creation()) == two.price_of(creation())
        assert [versions_of(each)[1] is None for each in (one, two)].count(True) == 1


@pytest.mark.parametrize(
    ("changed", "is_made_anew"),
    [
        (NETWORK.replace('10.7.0.1"', '10.7.0.2"'), True),
        (NETWORK + "mtu = 1400\n", True),
        (NETWORK + 'nameservers = ["10.7.0.3"]\n', True),
        (NETWORK.replace("network.lan", "network.tenants"), True),
        (NETWORK.replace("10.7.0.10-", "10.7.0.15-"), True),
        (NETWORK.replace("-10.7.0.19", "-10.7.0.25"), False),
        (NETWORK.replace('"lan"', '"lan" ') + "# nothing\n", False),
    ],
)
async def test_warm_guests_are_made_anew_when_they_would_be_made_differently(
    tmp_path: Path, world: World, file: Path, changed: str, is_made_anew: bool
) -> None:
    write(file, SHIPPED + NETWORK)
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_catalogue=file, pve402_pool=POOL) as made:
        (before,) = await made.pool_of(1)

        await put(made, file, DEARER + changed)
        if is_made_anew:
            await made.until(lambda row: row.end_reason == "pool_surplus")
        await made.settled_down()
        (after,) = await made.pool_of(1)

        assert (before.lease_id != after.lease_id) is is_made_anew
        assert made.marked_guests >= {after.vmid}


async def test_a_warm_guest_of_before_is_not_sold_after_a_change(
    tmp_path: Path, world: World, file: Path
) -> None:
    write(file, SHIPPED + NETWORK)
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_catalogue=file, pve402_pool=POOL) as made:
        (warm,) = await made.pool_of(1)
        await made.parts.filler.stop()

        await put(made, file, SHIPPED + NETWORK + "mtu = 1400\n")
        sold = (await made.lease()).lease

        assert sold.lease_id != warm.lease_id
        assert "mtu=1400" in made.proxmox.world.guests[sold.vmid].config.text("net0")


async def test_a_file_that_sells_no_warm_guest_is_bad(
    tmp_path: Path, world: World, file: Path
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_catalogue=file, pve402_pool=POOL) as made:
        await put(made, file, SHIPPED.replace("[sku.standard-lxc]", "[sku.other]"))

        number, problem = versions_of(made)
        assert number == 1
        assert "PVE402_POOL: standard-lxc" in (problem or "")


@pytest.mark.postgres
async def test_a_file_that_is_only_touched_brings_nothing_back(
    postgres: str, world: World, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(SHIPPED)
    async with (
        running(postgres, *world, pve402_catalogue=file) as one,
        running(postgres, *world, pve402_catalogue=other) as two,
    ):
        await put(one, file, DEARER)
        os.utime(other)
        for _ in range(3):
            await two.parts.versions.look()

        assert two.leases.prices.version == 2


async def test_a_change_is_made_once_the_database_is_back(
    made: Installation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin() -> Any:
        raise errors.DatabaseUnavailable

    write(file, DEARER)
    await made.parts.versions.look()
    with monkeypatch.context() as away:
        away.setattr(made.parts.db, "begin", begin)
        with pytest.raises(errors.DatabaseUnavailable):
            await made.parts.versions.look()
    await made.parts.versions.look()

    assert versions_of(made) == (2, None)


async def test_addresses_in_use_stay_with_their_leases(made: Installation, file: Path) -> None:
    await put(made, file, SHIPPED + NETWORK)
    row = (await made.lease()).lease
    moved = NETWORK.replace("10.7.0.10-10.7.0.19", "10.7.0.100-10.7.0.109")

    await put(made, file, SHIPPED + moved)
    other = (await made.lease()).lease

    assert dict(row.addresses) == {"ipv4": "10.7.0.10"}
    assert dict(other.addresses) == {"ipv4": "10.7.0.100"}
    assert (await made.leases.find(row.lease_id)).addresses == row.addresses


async def test_a_guest_in_the_making_is_finished_as_it_was_begun(
    made: Installation, file: Path
) -> None:
    await put(made, file, SHIPPED + NETWORK)
    asking = made.parts.guests.create
    seen: list[Any] = []

    async def create(ref: Any, spec: Any) -> Any:
        if not seen:
            seen.append(spec)
            await put(made, file, SHIPPED + NETWORK.replace("10.7.0", "10.8.0"))
            raise errors.TryLater("once more")
        seen.append(spec)
        return await asking(ref, spec)

    made.parts.guests.create = create  # type: ignore[method-assign]
    asked = creation()
    row = (await made.leases.create(asked, made.buy(made.tenant(), asked))).lease

    assert row.addresses["ipv4"] == "10.7.0.10"
    assert {spec.network.ipv4 for spec in seen} == {"10.7.0.10/24"}


async def test_the_catalogue_shows_what_it_costs_and_what_is_allowed(
    made: Installation, file: Path
) -> None:
    await put(made, file, DEARER + NETWORK)

    shown = (await http_of(made).get("/catalogue")).json()

    sku = next(sku for sku in shown["skus"] if sku["sku"] == "standard-lxc")
    assert shown["version"] == 2
    assert shown["limits"]["paidAheadDays"] == 30
    assert shown["limits"]["wallet"]["leases"] is None
    assert shown["managementFeeUsd"] == "0.003"
    assert sku["networkProfile"] == "lan"
    assert sku["prices"][0] == {
        "cores": 1,
        "memoryMB": 128,
        "diskGB": 1,
        "minuteUsd": "0.0004225",
        "hourUsd": "0.02535",
        "thirtyDaysUsd": "18.252",
    }
    assert [price["cores"] for price in sku["prices"]] == [1, 8]


def test_replicas_look_within_seconds() -> None:
    assert catalogue_versions.INTERVAL_SECONDS <= 3
