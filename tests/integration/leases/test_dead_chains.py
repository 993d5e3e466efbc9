"""No money is asked for or taken on a chain that cannot be read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.installation import NETWORK, Installation, creation, running

from pve402 import config
from pve402.domain import errors
from pve402_devnet.chain import ChainOptions, SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox


@pytest.fixture
async def shop(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """A running installation."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, proxmox, chain, facilitator) as made:
        yield made


async def test_nothing_is_taken_while_the_chain_cannot_be_read(shop: Installation) -> None:
    watch, wish = shop.parts.chain_watch, creation()
    honest = watch._chains[NETWORK]
    del watch._chains[NETWORK]
    watch._unreadable[NETWORK] = "down"
    kept = (await shop.lease()) if watch.is_readable(NETWORK) else None

    with pytest.raises(errors.ChainUnavailable):
        await shop.leases.create(wish, shop.buy(shop.tenant(), wish))
    with pytest.raises(errors.ChainUnavailable):
        await shop.leases.pay_fee(shop.purchase(shop.tenant(), 1000), "GET /x", {})
    ready = await shop.parts.readiness()
    watch._chains[NETWORK] = honest
    await watch._look_at_all()
    answer = await shop.lease()

    assert kept is None
    assert not ready["chain"]
    assert (await shop.parts.readiness())["chain"]
    assert shop.runs(answer.lease.vmid)
    assert len(await shop.orders_now()) == 1


@pytest.mark.parametrize("chain_id", [1, 8453, 31337, 43113, 84531])
@pytest.mark.parametrize("is_trusted", [False, True])
async def test_a_start_with_the_endpoint_of_another_chain_is_refused(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    facilitator: SimulatedFacilitator,
    chain_id: int,
    is_trusted: bool,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with SimulatedChain(ChainOptions(chain_id=chain_id)) as other:
        with pytest.raises(config.SettingsError, match=f"chain {chain_id}"):
            async with running(url, proxmox, other, facilitator, trust_facilitator=is_trusted):
                await asyncio.sleep(0)


@pytest.mark.parametrize(
    "networks", ["base,base-sepolia", "base-sepolia,base", "polygon,base-sepolia,base", "sei,base"]
)
async def test_one_endpoint_for_several_networks_is_refused(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    networks: str,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    with pytest.raises(config.SettingsError, match="with several networks one for each"):
        async with running(url, proxmox, chain, facilitator, network=networks):
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_needed", [True, False])
async def test_a_trusted_facilitator_needs_no_chain(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    is_needed: bool,
) -> None:
    url, dead = f"sqlite:///{tmp_path}/db.sqlite3", "http://127.0.0.1:9"
    changes = {"rpc_url": dead, "trust_facilitator": not is_needed}
    async with running(url, proxmox, chain, facilitator, **changes) as made:
        ready = await made.parts.readiness()

    assert ready["chain"] is not is_needed
