"""Guests are recognised by their installation's name, so that name must not change."""

from pathlib import Path

import pytest
from tests.support.installation import Installation, World, running

from pve402 import config
from pve402.domain import lease


async def finish_orders(installation: Installation) -> None:
    """Have settlements lie deep enough that no order is open any more."""
    for _ in range(12):
        installation.chain.rpc("evm_mine")
    installation.pass_time(30)
    await installation.settled_down()


async def test_a_name_made_of_another_key_is_refused_while_leases_stand(
    database_url: str, world: World
) -> None:
    async with running(database_url, *world, pve402_instance=None) as first:
        await first.lease()
        await finish_orders(first)
        name = first.parts.lease_options.instance

    with pytest.raises(config.SettingsError, match=f"PVE402_INSTANCE={name}"):
        async with running(database_url, *world, pve402_instance=None, pve402_secret_key="o" * 32):
            pass


async def test_the_name_that_is_asked_for_is_enough_with_another_key(
    database_url: str, world: World
) -> None:
    async with running(database_url, *world, pve402_instance=None) as first:
        row = (await first.lease()).lease
        await finish_orders(first)
        name = first.parts.lease_options.instance

    changed = {"pve402_instance": name, "pve402_secret_key": "o" * 32}
    async with running(database_url, *world, **changed) as again:
        again.pass_time(3600)
        await again.until_status(lease.LeaseStatus.STOPPED)

        assert not again.runs(row.vmid)


async def test_a_lost_key_file_is_told_by_the_name(tmp_path: Path, world: World) -> None:
    unnamed = {"pve402_instance": None, "pve402_secret_key": None}
    url = f"sqlite:///{tmp_path}/pve402.sqlite3"
    async with running(url, *world, **unnamed) as first:
        await first.lease()
        await finish_orders(first)
    (tmp_path / "pve402.sqlite3.key").unlink()

    with pytest.raises(config.SettingsError, match="secret key"):
        async with running(url, *world, **unnamed):
            pass


async def test_a_name_may_change_when_nothing_stands(database_url: str, world: World) -> None:
    async with running(database_url, *world):
        pass
    async with running(database_url, *world, pve402_instance="other") as second:
        await second.lease()

    with pytest.raises(config.SettingsError, match="PVE402_INSTANCE=other"):
        async with running(database_url, *world):
            pass
