"""A reinstalled lease has a fresh guest, and is else what it was."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import images
from tests.support import reinstalls as support
from tests.support.installation import Installation, World, creation, running
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import errors, lease, power, private_images, reinstalls, size_changes
from pve402.leases import moves
from pve402.storage import environment_rows, tables, user_data_rows
from pve402_devnet.pve.faults import FaultKind, TaskFault

__all__ = ["snapshot_proxmox", "snapshot_world"]

State = reinstalls.State
DAY = 24 * 60


@pytest.fixture
async def shop(tmp_path: Path, snapshot_world: World) -> AsyncIterator[Installation]:
    """An installation that takes snapshots and sells a second image."""
    file = images.catalogue(tmp_path, more=f'[image.other]\ntemplate = "{support.OTHER_VOLUME}"\n')
    text = file.read_text().replace('images = ["small"]', 'images = ["small", "other"]')
    file.write_text(text.replace("prepare = true\n", ""))
    chosen = {"pve402_catalogue": file, "pve402_snapshots": 2}
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *snapshot_world, **chosen) as made:
        yield made


async def leased(shop: Installation, **changes: Any) -> lease.Lease:
    """A lease of the sku with both images."""
    return (await shop.lease(sku=images.SKU, **changes)).lease


async def test_the_guest_is_another_and_the_lease_is_as_it_was(installation: Installation) -> None:
    shop = installation
    row = (await shop.lease()).lease
    before = support.options(shop, row.vmid)
    old = shop.proxmox.world.guests[row.vmid]

    outcome = await support.reinstall(shop, row, password="another password")
    await shop.settled_down()

    now, new = await shop.leases.find(row.lease_id), shop.proxmox.world.guests[row.vmid]
    assert outcome.made is not None
    assert outcome.made.state is State.DONE
    assert new is not old
    assert (old.password, new.password) == ("correct horse", "another password")
    assert shop.runs(row.vmid)
    assert support.options(shop, row.vmid) == before
    assert (now.wanted, now.status) == (power.Wanted.RUNNING, lease.LeaseStatus.ACTIVE)
    made = await support.latest(shop)
    assert (made.sealed_secrets, made.sealed_env, made.sealed_script) == (None, None, None)


async def test_no_time_passes_while_there_is_no_guest(shop: Installation) -> None:
    row = await leased(shop)
    fault = TaskFault(type="vzcreate", text="no space left on device")
    shop.proxmox.world.faults.order_for_task(fault)

    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "no space" in (now.last_error or ""))
    waiting = await support.latest(shop)
    shop.pass_time(2 * 3600)
    await shop.settled_down()
    await begun

    now = await shop.leases.find(row.lease_id)
    assert (waiting.state, waiting.problem) == (State.MAKING, reinstalls.NOT_MADE)
    assert (await support.latest(shop)).state is State.DONE
    assert now.status is lease.LeaseStatus.ACTIVE
    assert row.expires_at is not None
    assert now.expires_at is not None
    held = (now.expires_at - row.expires_at).total_seconds()
    assert 2 * 3600 <= held < 2 * 3600 + 60


async def test_another_image_may_be_asked_for_while_the_first_cannot_be_had(
    shop: Installation,
) -> None:
    row = await leased(shop)
    shop.fail_call(r"POST .*/lxc$", FaultKind.ERROR, text="no such template", times=50)
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "no such template" in (now.last_error or ""))
    with pytest.raises(errors.LeaseBusy):
        await shop.leases.start(await shop.leases.find(row.lease_id))
    await shop.parts.lease_reconciler.run_once()
    shop.proxmox.world.faults.clear()

    await support.reinstall(shop, row, template="other")
    await shop.settled_down()
    await begun

    now = await shop.leases.find(row.lease_id)
    assert (now.template, now.metadata["template"]) == (support.OTHER_VOLUME, "other")
    assert shop.proxmox.world.guests[row.vmid].template in support.OTHER_VOLUME
    assert shop.runs(row.vmid)


@pytest.mark.parametrize("until", ["expires_at", "hold_until"])
async def test_a_lease_that_an_older_replica_put_off_is_gone_on_with(
    shop: Installation, until: str
) -> None:
    row = await leased(shop)
    shop.fail_call(r"POST .*/lxc$", FaultKind.ERROR, times=1)
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "simulated failure" in (now.last_error or ""))
    async with shop.parts.db.begin() as tx:
        later = {"due_at": tables.leases.c[until], "fence": None}
        await tx.execute(tables.leases.update().values(later))
    await shop.settled_down()
    left_behind = row.vmid not in shop.proxmox.world.guests

    await shop.parts.lease_reconciler.run_once()
    await shop.settled_down()
    await begun

    assert left_behind
    assert shop.runs(row.vmid)


async def test_somebody_elses_guest_on_the_number_is_not_touched(shop: Installation) -> None:
    row = await leased(shop)
    old = shop.proxmox.world.guests[row.vmid]
    shop.fail_call(r"POST .*/lxc$", FaultKind.ERROR, times=1)
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "simulated failure" in (now.last_error or ""))
    old.config.put("tags", "somebodys")
    shop.proxmox.world.guests[row.vmid] = old  # an administrator made one with that number
    options = support.options(shop, row.vmid)

    shop.pass_time(100)
    await shop.settled_down()
    await shop.parts.lease_reconciler.run_once()
    while_taken = await support.latest(shop)
    untouched = support.options(shop, row.vmid)
    del shop.proxmox.world.guests[row.vmid]
    shop.pass_time(100)
    await shop.settled_down()
    await begun

    assert (while_taken.problem, untouched) == (reinstalls.NUMBER_TAKEN, options)
    assert shop.runs(row.vmid)
    assert (await support.latest(shop)).state is State.DONE


async def test_snapshots_go_only_if_that_is_said(shop: Installation) -> None:
    row = await leased(shop)
    await shop.leases.snapshots.take(row, "before")

    with pytest.raises(reinstalls.HasSnapshots):
        await support.reinstall(shop, row)
    left = len(shop.proxmox.world.guests[row.vmid].config.snapshots)
    await support.reinstall(shop, row, delete_snapshots=True)

    assert left == 1
    assert await shop.rows(tables.snapshots) == []
    assert shop.proxmox.world.guests[row.vmid].config.snapshots == {}


async def test_the_new_guest_gets_its_variables_and_script(shop: Installation) -> None:
    row = await leased(shop, env={"OLD": "1"}, user_data="echo old")

    await support.reinstall(shop, row, env={"NEW": "2"}, user_data="echo new")

    now = await shop.leases.find(row.lease_id)
    async with shop.parts.db.read() as tx:
        kept = await environment_rows.of_lease(tx, row.lease_id)
        script = await user_data_rows.of_lease(tx, row.lease_id)
    assert kept is not None
    assert script is not None
    order_id, sealed = kept
    vault = shop.leases.reinstalls._vault
    assert vault.unseal(sealed, environment_rows.bound_to(order_id)) == b'{"NEW": "2"}'
    bound = user_data_rows.bound_to(order_id, "script")
    assert vault.unseal(script.sealed_script or b"", bound) == b"echo new"
    assert (now.metadata["env"], now.metadata["userData"]) == (["NEW"], True)


async def test_a_stopped_guest_stays_down_and_keeps_its_variables(shop: Installation) -> None:
    row = await shop.leases.stop(await leased(shop, env={"OLD": "1"}, user_data="echo old"))

    await support.reinstall(shop, row)

    now = await shop.leases.find(row.lease_id)
    async with shop.parts.db.read() as tx:
        assert await environment_rows.of_lease(tx, row.lease_id) is not None
        assert await user_data_rows.of_lease(tx, row.lease_id) is None
    assert now.wanted is power.Wanted.STOPPED
    assert not shop.runs(row.vmid)


async def test_the_same_call_again_is_the_same_reinstallation(shop: Installation) -> None:
    row = await leased(shop)
    await support.reinstall(shop, row)
    guest = shop.proxmox.world.guests[row.vmid]

    await support.reinstall(shop, row)
    with pytest.raises(errors.LeaseBusy):
        await support.reinstall(shop, row, password="a third one")
    same = shop.proxmox.world.guests[row.vmid]
    shop.pass_time(61)
    await support.reinstall(shop, row)

    assert same is guest
    assert shop.proxmox.world.guests[row.vmid] is not guest


@pytest.mark.parametrize("option", ["unused0", "protection", "lock"])
async def test_a_guest_that_an_operator_changed_is_left_as_it_was(
    shop: Installation, option: str
) -> None:
    row = await leased(shop)
    guest = shop.proxmox.world.guests[row.vmid]
    value = {"unused0": "local:9999/vm-1-disk-1.raw", "protection": 1, "lock": "backup"}
    guest.config.put(option, value[option])

    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: now.wanted is power.Wanted.STOPPED)
    if option == "lock":
        await shop.until(lambda now: now.last_error is not None)
        shop.pass_time(121)
        guest.config.options.pop("lock")
        guest.config.put("protection", 1)
    (outcome,) = await support.gathered(begun)
    await shop.settled_down()

    assert isinstance(outcome, reinstalls.ReinstallFailed)
    assert shop.proxmox.world.guests[row.vmid] is guest
    assert shop.runs(row.vmid)
    assert (await support.latest(shop)).sealed_secrets is None


async def test_what_can_be_known_is_refused_before(shop: Installation) -> None:
    row = await leased(shop)
    late = await shop.leases.find((await leased(shop)).lease_id)
    check = shop.leases.reinstalls.check

    with pytest.raises(errors.CredentialRequired):
        await check(row, reinstalls.Wish())
    with pytest.raises(errors.UnknownTemplate):
        await check(row, reinstalls.Wish(password="pass word", template="nope"))
    image = private_images.template_of(row.lease_id)
    with pytest.raises(errors.UnknownTemplate, match="private image"):
        await check(row, reinstalls.Wish(password="pass word", template=image))
    with pytest.raises(errors.InvalidPassword):
        await check(row, reinstalls.Wish(password="no"))
    shop.parts.view.note_unfit(row.node, row.template)
    with pytest.raises(errors.NoCapacity):
        await check(row, reinstalls.Wish(password="pass word"))
    shop.pass_time(59 * 60)
    with pytest.raises(size_changes.TooLittleTimeLeft):
        await check(late, reinstalls.Wish(password="pass word", template="other"))


async def test_a_template_that_is_gone_costs_no_guest(shop: Installation) -> None:
    row = await leased(shop)
    guest = shop.proxmox.world.guests[row.vmid]
    (storage,) = shop.proxmox.world.storages
    del storage.templates[row.template.rpartition("/")[2]]

    with pytest.raises(reinstalls.ReinstallFailed):
        await support.reinstall(shop, row)
    await shop.settled_down()

    assert shop.proxmox.world.guests[row.vmid] is guest
    assert shop.runs(row.vmid)


async def test_a_suspension_waits_and_its_time_counts_once(shop: Installation) -> None:
    row = await leased(shop)
    shop.fail_call(r"POST .*/lxc$", FaultKind.ERROR, times=1)
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "simulated failure" in (now.last_error or ""))

    now = await shop.leases.find(row.lease_id)
    async with shop.parts.db.begin() as tx:
        await moves.suspend(shop.parts.db, tx, now, "abuse", time_held=True)
    await shop.settled_down()
    shop.pass_time(3600)
    await shop.settled_down()
    made_meanwhile = row.vmid in shop.proxmox.world.guests
    async with shop.parts.db.begin() as tx:
        await moves.resume(shop.parts.db, tx, await shop.leases.find(row.lease_id))
    await shop.settled_down()
    await support.gathered(begun)

    after = await shop.leases.find(row.lease_id)
    assert not made_meanwhile
    assert shop.runs(row.vmid)
    assert row.expires_at is not None
    assert after.expires_at is not None
    assert 3600 <= (after.expires_at - row.expires_at).total_seconds() < 3600 + 60


async def test_keys_of_the_lease_are_used_if_none_are_given(shop: Installation) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIyk1oRgTRnKk8DXs8Q5kYWJBVFPzFWYdBnJKC0bSj6F a@b"
    row = (await shop.lease(**_with_key(key))).lease

    await support.reinstall(shop, row, password=None)

    assert shop.proxmox.world.guests[row.vmid].ssh_public_keys.strip() == key


async def test_what_else_is_asked_for_waits(shop: Installation) -> None:
    tenant = shop.tenant()
    row = (await shop.lease(tenant, sku=images.SKU)).lease
    async with shop.holding(r"DELETE .*/lxc/\d+$"):
        begun = support.reinstalling(shop, row)
        await shop.until(lambda now: now.is_emptied)
        now = await shop.leases.find(row.lease_id)
        refused = [
            shop.leases.snapshots.take(now, "one"),
            shop.leases.size_changes.change(now, size_changes.Wish(cores=2), by_key=True),
            support.reinstall(shop, row, password="a third one"),
            shop.leases.renew(now, 30, shop.renewal(tenant, now, 30)),
        ]
        for call in refused:
            with pytest.raises(errors.LeaseBusy):
                await call
    await begun

    assert shop.runs(row.vmid)


def _with_key(key: str) -> dict[str, Any]:
    wish = creation(sku=images.SKU, password=None, ssh_public_keys=(key,))
    return {"sku": wish.sku, "password": None, "ssh_public_keys": wish.ssh_public_keys}
