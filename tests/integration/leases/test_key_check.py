"""An installation does not take up orders that it could never finish."""

import pytest
from tests.support.installation import World, running

from pve402 import config


async def test_another_key_is_refused_while_orders_are_open_and_the_right_one_is_not(
    database_url: str,
    world: World,
) -> None:
    async with running(database_url, *world) as first:
        await first.lease()

    with pytest.raises(config.SettingsError, match="PVE402_SECRET_KEY"):
        async with running(database_url, *world, pve402_secret_key="o" * 32):
            pass
    async with running(database_url, *world) as again:
        (kept,) = await again.orders_now()

    assert kept.sealed_payment is not None
