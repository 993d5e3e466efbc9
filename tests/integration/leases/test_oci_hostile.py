"""OCI images that lie, hang or cannot be made, and people who meddle with guests of theirs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import images, oci
from tests.support.installation import Installation, World, running

from pve402.domain import errors
from pve402.leases import oci_guests, workflow
from pve402.leases.images import oci_trials


@pytest.fixture
async def shop(tmp_path: Path, oci_world: World) -> AsyncIterator[Installation]:
    """An installation that sells a busybox."""
    oci.catalogue(tmp_path)
    async with oci.selling(tmp_path, oci_world) as made:
        yield made


@pytest.mark.postgres
async def test_what_a_hostile_shell_says_can_be_stored_and_shown(
    tmp_path: Path, oci_world: World, migrated_url: str
) -> None:
    url = migrated_url.replace("postgresql+asyncpg://", "postgresql://")
    sold = oci.catalogue(tmp_path)
    async with running(url, *oci_world, pve402_catalogue=sold) as shop:
        shop.shells.said = oci_trials.Shell(machine="x86_64", user="\0\x1b[2J" + "1" * 600)

        (file,) = await oci.tried(shop, "not_root")

        assert file.last_error
        assert file.last_error.isprintable()
        assert len(file.last_error) <= 500
        assert shop.proxmox.world.guests == {}


async def test_nobody_could_ask_is_no_verdict(shop: Installation) -> None:
    def busy(_row: object) -> None:
        shop.shells.on_ask = lambda _row: None
        raise workflow.RetryLater("all terminals are in use")

    shop.shells.on_ask = busy

    (file,) = await oci.tried(shop)

    assert file.is_sellable
    assert shop.proxmox.world.guests == {}


async def test_an_image_whose_trials_come_to_nothing_is_tried_more_seldom(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> oci_trials.Verdict:
        raise workflow.RetryLater("no guest can be made of it")

    monkeypatch.setattr(oci_trials.OciTrials, "verdict_on", broken)
    await oci.until(shop, lambda row: row.attempts == 1 and row.last_error is not None)
    for attempt in range(2, 8):
        shop.pass_time(61)
        await oci.until(shop, lambda row, attempt=attempt: row.attempts == attempt)

    (file,) = await oci.files(shop)

    assert file.due_at is not None
    assert (file.due_at - await shop.parts.db.time()).total_seconds() > 500


async def test_a_guest_that_somebody_started_early_is_not_sold(shop: Installation) -> None:
    await oci.tried(shop)
    world = shop.proxmox.world
    honest = oci_guests.OciGuests.complete

    async def meddled(self: oci_guests.OciGuests, row: oci_guests.lease.Lease) -> None:
        await shop.parts.machines.ensure_running(row)
        await honest(self, row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oci_guests.OciGuests, "complete", meddled)
        with pytest.raises(errors.ProvisioningFailed):
            await shop.lease(**oci.WISH)
        await shop.settled_down()

    assert shop.earned == 0
    assert world.guests == {}
    assert await images.unaccounted(shop) == []
