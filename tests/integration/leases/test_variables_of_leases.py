"""The variables that are ordered with a lease: sealed, found by it, and gone with it."""

from typing import Any

import pytest
import sqlalchemy as sa
from tests.support import contract_payers
from tests.support.debts import owing, wallet
from tests.support.installation import Installation, creation

from pve402.domain import errors, lease
from pve402.guests import guest_work, lease_variables
from pve402.hub import errors as hub_errors
from pve402.proxmox import guests as pve_guests
from pve402.proxmox.guests import GuestRef
from pve402.storage import environment_rows, tables, vault

GIVEN = {"TOKEN": "hunter2", "B": "é"}
START = r"POST .*/status/start$"


def finder(shop: Installation) -> lease_variables.LeaseVariables:
    return with_vault(shop, shop.parts.secret_vault)


def with_vault(shop: Installation, secret_vault: vault.Vault) -> lease_variables.LeaseVariables:
    guests = pve_guests.Guests(shop.parts.proxmox)
    return lease_variables.LeaseVariables(shop.parts.db, secret_vault, guests)


async def sealed(shop: Installation) -> list[bytes]:
    async with shop.parts.db.read() as tx:
        found = await tx.execute(sa.select(tables.environments.c.sealed))
        return [row.sealed for row in found]


async def test_they_are_sealed_and_found_by_their_lease_alone(installation: Installation) -> None:
    shop = installation
    row = (await shop.lease(env=GIVEN)).lease
    other = (await shop.lease(hostname="other", env={"OTHER": "1"})).lease
    without = (await shop.lease(hostname="without")).lease

    found = [await finder(shop).of(guest_work.ref(each)) for each in (row, other, without)]

    assert found == [GIVEN, {"OTHER": "1"}, {}]
    assert await finder(shop).of(GuestRef(node=row.node, vmid=row.vmid)) == {}
    assert all(b"hunter2" not in each for each in await sealed(shop))
    assert row.metadata["env"] == ["B", "TOKEN"]
    assert "hunter2" not in repr(await shop.rows(tables.leases) + await shop.rows(tables.orders))


async def test_another_request_is_another_order(installation: Installation) -> None:
    key = installation.tenant()
    wish = creation(env=GIVEN)
    purchase = installation.buy(key, wish)
    first = await installation.leases.create(wish, purchase)

    again = await installation.leases.create(wish, purchase)
    with pytest.raises(errors.PaymentReused):
        await installation.leases.create(creation(env={**GIVEN, "TOKEN": "other"}), purchase)

    assert again.lease.lease_id == first.lease.lease_id
    assert len(await sealed(installation)) == 1


async def test_they_go_with_the_lease(installation: Installation) -> None:
    shop = installation
    row = (await shop.lease(env=GIVEN)).lease
    stays = (await shop.lease(hostname="stays", env=GIVEN)).lease
    await shop.parts.lease_reconciler.run_once()
    before = len(await sealed(shop))

    await shop.leases.end(row)
    await shop.until(lambda each: each.status is lease.LeaseStatus.ENDED)
    await shop.parts.lease_reconciler.run_once()

    assert (before, len(await sealed(shop))) == (2, 1)
    assert await finder(shop).of(guest_work.ref(stays)) == GIVEN


async def test_those_of_a_refused_order_go_too_and_a_redemption_brings_its_own(
    installation: Installation,
) -> None:
    shop, key = installation, installation.tenant()
    debt = await owing(shop, key, creation(env=GIVEN))
    await shop.settled_down()
    await shop.parts.lease_reconciler.run_once()
    left = await sealed(shop)

    changes: dict[str, Any] = {"idempotency_key": None, "client_address": None}
    answer = await shop.parts.redeeming.redeem(
        wallet(key), debt.owed_id, creation(env={"NEW": "1"}), **changes, wait_seconds=20.0
    )

    assert left == []
    assert await finder(shop).of(guest_work.ref(answer.lease)) == {"NEW": "1"}


async def test_a_guest_that_is_made_anew_has_them(installation: Installation) -> None:
    shop = installation
    shop.fail_call(START, times=1)
    purchase = contract_payers.bought_by_new(shop, wait_seconds=0.0)
    await shop.leases.create(creation(env=GIVEN), purchase)
    await shop.until(lambda each: each.last_error is not None or each.handed_over)
    shop.pass_time(30)

    made = await shop.until_status(lease.LeaseStatus.ACTIVE)

    (paid,) = await shop.orders_now()
    assert paid.tries == 1
    assert await finder(shop).of(guest_work.ref(made)) == GIVEN


async def test_those_that_another_key_sealed_are_a_refusal(installation: Installation) -> None:
    shop = installation
    row = (await shop.lease(env=GIVEN)).lease
    other = with_vault(shop, vault.Vault(b"o" * 32))

    with pytest.raises(hub_errors.SessionFailed):
        await other.of(guest_work.ref(row))
    async with shop.parts.db.read() as tx:
        order_id, kept = await environment_rows.of_lease(tx, row.lease_id) or ("", b"")
    with pytest.raises(vault.SealBrokenError):
        shop.parts.secret_vault.unseal(kept, order_id)
