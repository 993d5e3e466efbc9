"""What operators run, against a running installation."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime
from importlib import resources as resources_of
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.integration.leases.test_reconciler import add_copy
from tests.support.installation import Installation, World, creation, running, settings

from pve402 import bootstrap, config
from pve402.domain import lease
from pve402.leases import reconciler
from pve402.ops import doctor, draining, leases, rebuild, reconcile, revenue
from pve402.proxmox import resources
from pve402.storage import lease_rows, tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

ORPHAN = "l" + "0" * 25
AT = datetime(2026, 12, 1, tzinfo=UTC)


class Screen:
    """Catches what a command prints."""

    def __init__(self, width: int = 300) -> None:
        self.console = Console(file=io.StringIO(), width=width)

    @property
    def text(self) -> str:
        """Everything printed so far."""
        file: Any = self.console.file
        return str(file.getvalue())


async def examined(parts: bootstrap.Components) -> tuple[int, str]:
    """What the doctor answers and prints of an installation that is not running."""
    screen = Screen()
    code = await doctor.examine(parts, screen.console)
    await parts.close()
    return code, screen.text


class SellingView:
    """A view of the cluster before which another container is leased."""

    def __init__(self, installation: Installation) -> None:
        self.sold: list[int] = []
        self._installation = installation

    async def fresh(self, within_seconds: float) -> resources.ClusterResources:
        """Lease, and look then."""
        self.sold.append((await self._installation.lease()).lease.vmid)
        await self._installation.proxmox.publish()
        return await self._installation.parts.view.fresh(within_seconds)


def names_in(folder: Path) -> list[str]:
    """The files of a folder."""
    return sorted(file.name for file in folder.iterdir())


async def test_the_doctor_finds_a_good_installation_good(installation: Installation) -> None:
    screen = Screen()

    code = await doctor.examine(installation.parts, screen.console)

    assert "FAIL" not in screen.text
    assert code == 0


async def test_the_doctor_looks_for_the_templates_of_the_catalogue(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    shipped = resources_of.files("pve402.domain").joinpath("default_catalogue.toml").read_text()
    catalogue_file = tmp_path / "catalogue.toml"
    added = 'templates = { old = "local:vztmpl/old.tar.zst" }\nimages = ["new"]\n'
    added += '[image.new]\ntemplate = "local:vztmpl/old.tar.zst"\nprepare = true\n'
    catalogue_file.write_text(shipped + added)
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    parts = bootstrap.build(
        settings(url, proxmox, chain, facilitator, pve402_catalogue=catalogue_file)
    )
    whole = parts.nodes.cluster_resources

    async def without_storages() -> Any:
        return dataclasses.replace(await whole(), storages=())  # as without Datastore.Audit

    parts.nodes.cluster_resources = without_storages  # type: ignore[method-assign]

    code, text = await examined(parts)

    assert code == 1
    assert "FAIL template on pve: there is no local:vztmpl/old.tar.zst" in text
    assert "a storage of type dir makes no linked clones" in text


async def test_the_doctor_makes_no_files(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    url, unnamed = f"sqlite:///{tmp_path}/db.sqlite3", {"pve402_secret_key": None}
    chosen = settings(url, proxmox, chain, facilitator, pve402_public_url=None, **unnamed)
    parts = bootstrap.build(chosen, makes_key=False)

    code, text = await examined(parts)

    assert code == 0
    assert "the first start creates the secret key" in text
    assert "PVE402_PUBLIC_URL: is not set" in text
    assert names_in(tmp_path) == []


async def test_revenue_lists_every_settled_order(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await installation.lease()

    await revenue.Revenue(since_days=1, output="json").show(installation.parts, Screen().console)

    printed = capsys.readouterr().out
    (row,) = json.loads(printed[printed.index("[\n") :])
    assert row["transaction"] == answer.order.transaction
    assert float(row["amount"]) * 10**6 == installation.price_of(creation())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"last_error": None}, "active "),
        ({"paused_at": AT}, "active, paused "),
        ({"paused_at": AT, "suspended_at": AT}, "active, suspended "),
    ],
)
async def test_the_list_names_what_became_of_a_lease(
    installation: Installation, values: dict[str, datetime | None], said: str
) -> None:
    row = (await installation.lease()).lease
    async with installation.parts.db.begin() as tx:
        await tx.execute(tables.leases.update().values(**values))
    screen, drained = Screen(), Screen()

    await leases.show(installation.parts, screen.console)
    await draining.drain(installation.parts, drained.console, node=row.node)

    for text in (screen.text, drained.text):
        assert row.lease_id in text
        assert row.owner in text
        assert said in text


async def test_an_empty_table_is_told_in_words(installation: Installation) -> None:
    none, unsold = Screen(), Screen()

    await leases.show(installation.parts, none.console)
    sold = revenue.Revenue(since_days=30, output="table")
    await sold.show(installation.parts, unsold.console)

    assert none.text == "there are no current leases\n"
    assert unsold.text == "no order was settled in these days\n"


async def test_tables_are_whole_in_a_narrow_window(installation: Installation) -> None:
    bought = await installation.lease()
    screen = Screen(width=80)

    await leases.show(installation.parts, screen.console)
    await revenue.Revenue(since_days=1, output="table").show(installation.parts, screen.console)

    assert screen.text.count(bought.lease.lease_id) == 2
    assert bought.order.transaction in screen.text


async def test_what_went_wrong_is_shown_as_it_was_said(
    installation: Installation,
) -> None:
    row = (await installation.lease()).lease
    async with installation.parts.db.begin() as tx:
        of_lease = tables.leases.c.lease_id == row.lease_id
        await tx.execute(tables.leases.update().where(of_lease).values(last_error="no [/such] tag"))
    screen = Screen()

    await leases.show(installation.parts, screen.console)

    assert "no [/such] tag" in screen.text


async def test_the_list_is_read_by_programs_too(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    row = (await installation.lease()).lease
    capsys.readouterr()

    await leases.show(installation.parts, Screen().console, as_json=True)

    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["leaseId"] == row.lease_id
    assert shown["expiresAt"] == row.expires_at.isoformat()


async def test_reconcile_shows_and_stops_only_when_told(installation: Installation) -> None:
    vmids = [(await installation.lease()).lease.vmid for _ in range(2)]
    orphan = add_copy(installation, max(vmids), tags=f"pve402-test;lease-{ORPHAN}")
    await installation.proxmox.publish()

    shown = await reconcile.Reconcile(apply=False).run(installation.parts, Screen().console)
    ran = installation.runs(orphan.vmid)
    done = await reconcile.Reconcile(apply=True).run(installation.parts, Screen().console)

    assert (shown, done) == (1, 0)
    assert ran
    assert not installation.runs(orphan.vmid)
    assert orphan.vmid in installation.proxmox.world.guests
    assert all(installation.runs(vmid) for vmid in vmids)


async def test_reconcile_leaves_a_guest_alone_that_was_leased_meanwhile(
    installation: Installation,
) -> None:
    await installation.lease()
    parts, view = installation.parts, SellingView(installation)
    selling = reconciler.Reconciler(
        parts.db,
        view,  # type: ignore[arg-type]
        parts.machines,
        parts.lease_options,
        parts.guest_network,
        parts.lease_reconciler.idle,
        fork_ends=parts.lease_reconciler.fork_ends,
    )
    screen = Screen()

    with_view = dataclasses.replace(parts, lease_reconciler=selling)
    code = await reconcile.Reconcile(apply=True).run(with_view, screen.console)

    (vmid,) = view.sold
    assert (code, installation.runs(vmid)) == (0, True)
    assert f"{vmid}: it now has a lease" in screen.text


async def test_reconcile_refuses_with_an_empty_table(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    world: World,
) -> None:
    async with running(f"sqlite:///{tmp_path}/lost.sqlite3", *world) as lost:
        row = (await lost.lease()).lease
        await proxmox.publish()
    async with running(f"sqlite:///{tmp_path}/new.sqlite3", *world) as empty:
        screen = Screen()

        code = await reconcile.Reconcile(apply=True).run(empty.parts, screen.console)

        assert code == 1
        assert "Refused" in screen.text
        assert empty.runs(row.vmid)


async def test_reconcile_refuses_a_name_that_guests_do_not_stand_under(
    installation: Installation, proxmox: SimulatedProxmox
) -> None:
    await installation.lease()
    url = installation.parts.settings.database_url.get_secret_value()
    world = (proxmox, installation.chain, installation.facilitator)
    parts = bootstrap.build(settings(url, *world, pve402_instance="other"))

    with pytest.raises(config.SettingsError, match="PVE402_INSTANCE=test"):
        await reconcile.Reconcile(apply=False).run(parts, Screen().console)
    await parts.close()


async def test_rebuild_brings_leases_back_with_owner_end_and_size(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    world: World,
) -> None:
    async with running(f"sqlite:///{tmp_path}/lost.sqlite3", *world) as lost:
        row = (await lost.lease(minutes=60)).lease
        lost.pass_time(60)
        await lost.settled_down()
        await proxmox.publish()
    url = f"sqlite:///{tmp_path}/new.sqlite3"
    parts, shown = bootstrap.build(settings(url, *world)), Screen()
    await rebuild.Rebuild(apply=False).run(parts, shown.console)
    await rebuild.Rebuild(apply=True).run(parts, Screen().console)
    await parts.close()

    assert row.lease_id in shown.text
    async with running(url, *world) as again:
        (back,) = await again.leases_now()
        assert row.expires_at is not None
        assert back.expires_at == row.expires_at
        assert (back.lease_id, back.owner, back.size) == (row.lease_id, row.owner, row.size)
        assert back.status is lease.LeaseStatus.ACTIVE
        again.pass_time(3700)
        await again.until_status(lease.LeaseStatus.STOPPED)
        assert not again.runs(row.vmid)


@pytest.mark.parametrize("is_over", [False, True])
async def test_rebuild_keeps_what_is_in_grace_and_what_its_tenant_stopped(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    world: World,
    is_over: bool,
) -> None:
    async with running(f"sqlite:///{tmp_path}/lost.sqlite3", *world) as lost:
        row = (await lost.lease(minutes=60)).lease
        await (lost.settled_down() if is_over else lost.leases.stop(row))
    await proxmox.publish()
    url = f"sqlite:///{tmp_path}/new.sqlite3"
    parts = bootstrap.build(settings(url, *world))
    if is_over:
        proxmox.world.guests[row.vmid].pid = proxmox.world.guests[row.vmid].started_at = None
        parts.db.shift_seconds += 3700
    _forget_states(parts)
    await rebuild.Rebuild(apply=True).run(parts, Screen().console)
    await parts.close()

    async with running(url, *world) as again:
        if is_over:
            again.pass_time(3700)
            back = await again.until_status(lease.LeaseStatus.STOPPED)
            assert back.deletes_at is not None
            grace = back.deletes_at - await again.parts.db.time()
            most = again.parts.lease_options.grace_seconds
            assert most - 60 < grace.total_seconds() <= most
        else:
            (back,) = await again.leases_now()
        assert back.is_to_run is is_over
        assert not again.runs(row.vmid)


def _forget_states(parts: bootstrap.Components) -> None:
    """Have the cluster's list name no guest's state, as when its statistics fail."""
    honest = parts.nodes.cluster_resources

    async def forgetful() -> resources.ClusterResources:
        seen = await honest()
        unknown = resources.RunState.UNKNOWN
        guests = tuple(dataclasses.replace(guest, state=unknown) for guest in seen.guests)
        return dataclasses.replace(seen, guests=guests)

    parts.nodes.cluster_resources = forgetful  # type: ignore[method-assign]


async def test_rebuild_believes_no_forged_description(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    world: World,
) -> None:
    async with running(f"sqlite:///{tmp_path}/lost.sqlite3", *world) as lost:
        row = (await lost.lease()).lease
        config = proxmox.world.guests[row.vmid].config
        honest = config.text("description")
        config.options["description"] = honest.replace("pve402:v1:e", "pve402:v1:f")
        await proxmox.publish()
    parts = bootstrap.build(settings(f"sqlite:///{tmp_path}/new.sqlite3", *world))
    screen = Screen()

    code = await rebuild.Rebuild(apply=True).run(parts, screen.console)
    async with parts.db.read() as tx:
        count = await lease_rows.count(tx)
    await parts.close()

    assert code == 1
    assert count == 0
