"""Prepared images and their clones: made once, cloned whole, retired when their source changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.support import images as support
from tests.support.images import image_proxmox, image_world
from tests.support.installation import (
    TEMPLATE,
    Installation,
    World,
    running,
    settings,
    simulated_proxmox,
)

from pve402 import bootstrap
from pve402.bootstrap import rights
from pve402.domain import catalogue, errors, lease
from pve402.ops import leases, rebuild
from pve402.ops.checks import findings
from pve402.ops.checks import images as checks
from pve402.proxmox import roles
from pve402.storage import image_rows
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.faults import FaultKind
from pve402_devnet.pve.options import TokenOptions

__all__ = ["image_proxmox", "image_world"]

LEAST = {
    "/vms": roles.CLONE_GUESTS,
    "/storage/local": roles.STORAGE,
    "/sdn/zones/localnetwork/vmbr0": roles.BRIDGE,
    "/nodes/pve": roles.NODE,
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKn8H7M6y8bTqkB8nYF6xk3m1cX0J7m5vQ0kqk9d2v"
WISH: dict[str, Any] = {"sku": support.SKU, "template": "small"}
ISOLATED = """
[network.apart]
bridge = "vmbr0"
isolation = "tenant"
default = true
ipv4 = { subnet = "10.7.0.0/24", gateway = "10.7.0.1", ranges = ["10.7.0.10-10.7.0.99"] }
"""


@pytest.fixture
async def shop(tmp_path: Path, image_world: World) -> AsyncIterator[Installation]:
    """A running installation that prepares an image."""
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as made:
        yield made


@pytest.fixture
async def either_shop(
    tmp_path: Path, database_url: str, image_world: World
) -> AsyncIterator[Installation]:
    """The same on either kind of database."""
    file = support.catalogue(tmp_path)
    async with running(database_url, *image_world, pve402_catalogue=file) as made:
        yield made


async def test_an_image_is_a_template_that_never_ran(shop: Installation) -> None:
    started = support.starts(shop)

    (image,) = await support.prepared(shop)

    options = support.options_of(shop, image.vmid)
    assert (image.sku, image.owner, image.end_reason) == ("small", lease.IMAGE, None)
    assert options["template"] == 1
    assert "net0" not in options
    assert image.lease_id in options["tags"]
    assert shop.parts.machines.read_description(options["description"]) is not None
    assert await support.unaccounted(shop) == []
    assert started == []


async def test_leases_are_whole_clones(shop: Installation) -> None:
    (image,) = await support.prepared(shop)
    started, calls = support.starts(shop), shop.record_proxmox_calls()
    large = lease.Size(cores=2, memory_mb=768, disk_gb=5)

    first = await shop.lease(hostname="first", sku=support.SKU)
    answer = await shop.lease(
        **WISH, hostname="second", password="only-for-me", ssh_public_keys=(KEY,), size=large
    )

    row = await shop.leases.find(answer.lease.lease_id)
    options = support.options_of(shop, row.vmid)
    assert len([call for call in calls if call.endswith("/clone")]) == 2
    assert (row.base, row.status) == (image.lease_id, lease.LeaseStatus.ACTIVE)
    assert (options["hostname"], options["cores"], options["memory"]) == ("second", 2, 768)
    assert "size=5G" in options["rootfs"]
    assert image.lease_id not in str(options)
    _, secrets = shop.rekey.told[-1]
    assert (secrets.password, secrets.ssh_public_keys) == ("only-for-me", (KEY,))
    support.check_starts(await shop.leases_now(), started)
    assert shop.runs(first.lease.vmid)
    assert await support.unaccounted(shop) == []


async def test_clones_at_once_take_turns(shop: Installation) -> None:
    await support.prepared(shop)
    started = support.starts(shop)

    answers = await asyncio.gather(*(shop.lease(**WISH) for _ in range(4)))

    rows = await shop.leases_now()
    support.check_starts(rows, started)
    assert all(shop.runs(answer.lease.vmid) for answer in answers)
    assert len({row.base for row in rows if not row.is_image}) == 1
    assert await support.unaccounted(shop) == []


async def test_the_network_of_a_clone_is_its_own(tmp_path: Path, image_world: World) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    file = support.catalogue(tmp_path, more=ISOLATED)
    image_world[0].world.firewalls.cluster.options["enable"] = 1

    async with running(url, *image_world, pve402_catalogue=file) as made:
        (image,) = await support.prepared(made)
        started = support.starts(made)
        made.proxmox.world.firewalls.guest(image.vmid).options["policy_in"] = "ACCEPT"
        row = (await made.lease(**WISH)).lease
        ((_, options),) = started
        firewall = made.proxmox.world.firewalls.guest(row.vmid)

        assert "link_down=1" in options["net0"]
        assert f"ip={row.addresses['ipv4']}/24" in options["net0"]
        assert firewall.options["policy_in"] == "DROP"
        assert firewall.options["ipfilter"] == 1


async def test_an_image_of_another_file_is_replaced_once_unused(either_shop: Installation) -> None:
    shop = either_shop
    (old,) = await support.prepared(shop)
    first = (await shop.lease(**WISH)).lease
    support.touch(shop, TEMPLATE)
    await shop.parts.nodes_check.look()

    both = await support.prepared(shop, 2)
    second = (await shop.lease(**WISH)).lease
    await shop.leases.end(await shop.leases.find(first.lease_id))
    await shop.settled_down()
    (new,) = await support.prepared(shop)

    assert old.lease_id in {image.lease_id for image in both}
    assert second.base == new.lease_id != old.lease_id
    assert old.vmid not in shop.proxmox.world.guests
    assert await support.unaccounted(shop) == []


async def test_an_image_that_is_prepared_no_more_goes(tmp_path: Path, image_world: World) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as made:
        await support.prepared(made)
    file.write_text(file.read_text().replace("prepare = true", "prepare = false"))

    async with running(url, *image_world, pve402_catalogue=file) as made:
        await support.prepared(made, 0)
        row = (await made.lease(**WISH)).lease

        assert row.base is None
        assert made.proxmox.world.guests.keys() == {row.vmid}


async def test_where_nothing_can_be_linked_templates_are_unpacked(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with (
        simulated_proxmox() as directory,
        running(url, directory, chain, facilitator, pve402_catalogue=file) as made,
    ):
        await support.prepared(made, 0)
        row = (await made.lease(**WISH)).lease

        assert row.base is None
        assert made.runs(row.vmid)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"POST .*/clone$", "Linked clone feature for 'local:1' is not available"),
        (r"POST .*/clone$", "Permission check failed (/vms/10000, VM.Clone)"),
        (r"POST .*/clone$", "Configuration file 'nodes/pve/lxc/10000.conf' does not exist"),
    ],
)
async def test_an_image_that_cannot_be_cloned_is_left_alone(
    shop: Installation, pattern: str, text: str
) -> None:
    await support.prepared(shop)
    calls = shop.record_proxmox_calls()
    shop.fail_call(pattern, text=text)

    rows = [(await shop.lease(**WISH)).lease for _ in range(2)]

    assert [row.base for row in rows] == [None, None]
    assert len([call for call in calls if call.endswith("/clone")]) == 1
    assert shop.rekey.told == []
    assert await support.unaccounted(shop) == []


async def test_a_locked_image_is_asked_again(shop: Installation) -> None:
    (image,) = await support.prepared(shop)
    shop.fail_call(r"POST .*/clone$", text="CT is locked (disk)")

    row = (await shop.lease(**WISH)).lease

    assert row.base == image.lease_id


async def test_a_lost_answer_is_not_sent_again(shop: Installation) -> None:
    (image,) = await support.prepared(shop)
    calls = shop.record_proxmox_calls()
    shop.fail_call(r"POST .*/clone$", FaultKind.DROP, executed=True)

    row = (await shop.lease(**WISH)).lease

    assert row.base == image.lease_id
    assert len([call for call in calls if call.endswith("/clone")]) == 1
    assert await support.unaccounted(shop) == []


async def test_a_foreign_guest_is_never_cloned(shop: Installation) -> None:
    (image,) = await support.prepared(shop)
    shop.proxmox.world.guests[image.vmid].config.put("tags", "theirs")
    calls = shop.record_proxmox_calls()

    row = (await shop.lease(**WISH)).lease

    assert row.base is None
    assert not [call for call in calls if call.endswith("/clone")]


@pytest.mark.parametrize(("option", "value"), [("protection", 1), ("mp0", "local:1,mp=/x")])
async def test_an_image_that_somebody_changed_is_not_cloned(
    shop: Installation, option: str, value: Any
) -> None:
    (image,) = await support.prepared(shop)
    shop.proxmox.world.guests[image.vmid].config.put(option, value)

    row = (await shop.lease(**WISH)).lease

    assert row.base is None
    assert option not in support.options_of(shop, row.vmid)


async def test_a_clone_with_options_of_its_image_is_destroyed(shop: Installation) -> None:
    (image,) = await support.prepared(shop)
    started = support.starts(shop)
    honest = shop.parts.guests.clone

    async def late(source: Any, *rest: Any, **named: Any) -> Any:
        shop.proxmox.world.guests[image.vmid].config.put("timezone", "host")
        return await honest(source, *rest, **named)

    shop.parts.guests.clone = late  # type: ignore[method-assign]
    with pytest.raises(errors.ProvisioningFailed):
        await shop.lease(**WISH)
    await shop.settled_down()

    assert started == []
    assert shop.proxmox.world.guests.keys() == {image.vmid}
    assert shop.earned == 0


async def test_a_clone_whose_shell_is_silent_is_not_paid_for(
    tmp_path: Path, image_world: World
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as made:
        await support.prepared(made)
        made.rekey.sound = False

        ordered = asyncio.create_task(made.lease(**WISH))
        for _ in range(40):
            made.pass_time(10)
            await asyncio.sleep(0.05)
            await made.settled_down()
            if ordered.done():
                break
        with pytest.raises(errors.ProvisioningFailed):
            await ordered
        unpacked = (await made.lease(**WISH)).lease

        paid = [one.amount_atomic for one in await made.orders_now() if one.is_paid]
        assert unpacked.base is None
        assert [made.earned] == paid
        assert await support.unaccounted(made) == []


async def test_warm_guests_are_clones(tmp_path: Path, image_world: World) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as made:
        (image,) = await support.prepared(made)
    kinds = f"{support.SKU}:1:512:8=1"

    async with running(url, *image_world, pve402_catalogue=file, pve402_pool=kinds) as made:
        (warm,) = await made.pool_of(1)
        row = (await made.lease(**WISH)).lease
        await made.pool_of(1)

        assert (warm.base, row.lease_id) == (image.lease_id, warm.lease_id)
        assert await support.unaccounted(made) == []


async def test_images_come_back_from_their_marks(tmp_path: Path, image_world: World) -> None:
    file = support.catalogue(tmp_path)
    lost, new = (f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("lost", "new"))
    async with running(lost, *image_world, pve402_catalogue=file) as made:
        (image,) = await support.prepared(made)

    parts = bootstrap.build(settings(new, *image_world, pve402_catalogue=file))
    await rebuild.Rebuild(apply=True).run(parts, Console(quiet=True))
    async with parts.db.read() as tx:
        (found,) = await image_rows.list_standing(tx)
    await parts.close()
    async with running(new, *image_world, pve402_catalogue=file) as made:
        (ready,) = await support.prepared(made)

        assert found.lease_id == image.lease_id != ready.lease_id
        assert (found.status, found.vmid) == (lease.LeaseStatus.STOPPED, image.vmid)
        assert await support.unaccounted(made) == []


async def test_operators_see_images_and_what_storages_can(shop: Installation) -> None:
    (image,) = await support.prepared(shop)
    screen = StringIO()

    await leases.show(shop.parts, Console(file=screen, width=200))
    found = await checks.prepared(shop.parts)

    (line,) = [line for line in screen.getvalue().splitlines() if image.lease_id in line]
    assert "stopped" in line
    assert "image small" in line
    assert [one.verdict for one in found] == [findings.Verdict.OK] * 2
    assert "type btrfs makes linked clones" in found[0].text
    assert f"guest {image.vmid} can be cloned" in found[1].text


async def test_the_doctor_says_where_nothing_can_be_linked(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with (
        simulated_proxmox() as directory,
        running(url, directory, chain, facilitator, pve402_catalogue=file) as made,
    ):
        (found,) = await checks.prepared(made.parts)

    assert found.verdict is findings.Verdict.NOTE
    assert "type dir makes no linked clones" in found.text


async def test_no_tenant_finds_an_image(shop: Installation) -> None:
    (image,) = await support.prepared(shop)

    with pytest.raises(errors.LeaseNotFound):
        await shop.leases.find(image.lease_id)


async def test_the_documented_rights_are_enough(tmp_path: Path, image_world: World) -> None:
    access, user = image_world[0].world.access, "pve402@pve"
    access.add_token(TokenOptions(user=user, name="least", privilege_separated=False))
    for path, role in LEAST.items():
        access.roles[role.name] = role.privileges
        access.grant(path, user, role.name)
    token = access.token(f"{user}!least")
    assert token is not None
    own = {"pve_token_id": f"{user}!least", "pve_token_secret": token.secret}
    file = support.catalogue(tmp_path)

    async with running(
        f"sqlite:///{tmp_path}/db.sqlite3", *image_world, pve402_catalogue=file, **own
    ) as shop:
        await support.prepared(shop)
        answer = await shop.lease(**WISH, hostname="cloned")

        assert (await shop.leases.find(answer.lease.lease_id)).base is not None


async def test_only_prepared_images_take_the_right_to_clone(
    tmp_path: Path, image_world: World
) -> None:
    file = support.catalogue(tmp_path)
    prepared = catalogue.parse(file.read_text())
    plain = catalogue.parse(file.read_text().replace("prepare = true", "prepare = false"))
    chosen = settings("sqlite:///none", *image_world)

    assert rights.needs(chosen, prepared, "pve").clones
    assert not rights.needs(chosen, plain, "pve").clones


async def test_a_paid_guest_that_is_made_anew_is_unpacked(shop: Installation) -> None:
    """Nobody would re-key it: it is handed over as soon as it runs."""
    await support.prepared(shop)
    rekeyed = []

    def vanish() -> None:
        (row,) = (one for one in rekeyed if one in shop.proxmox.world.guests)
        del shop.proxmox.world.guests[row]

    shop.rekey.failures, shop.rekey.on_rekey = 1, vanish
    started = support.starts(shop)
    honest = shop.rekey.rekey

    async def noted(row: lease.Lease, secrets: Any) -> None:
        rekeyed.append(row.vmid)
        await honest(row, secrets)

    shop.rekey.rekey = noted  # type: ignore[method-assign]
    with contextlib.suppress(errors.OrderPending):
        await shop.lease(**WISH)
    for _ in range(6):
        shop.pass_time(20)
        await shop.settled_down()

    (row,) = [one for one in await shop.leases_now() if not one.is_image]
    assert (row.status, row.base) == (lease.LeaseStatus.ACTIVE, None)
    assert len(rekeyed) == 1
    assert len(started) == 2
    assert shop.runs(row.vmid)
