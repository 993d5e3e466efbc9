"""A whole lease on fakepve, which others wrote, while it has the troubles of a real cluster."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import scenarios, shop
from tests.support.chain import chain, facilitator  # noqa: F401
from tests.support.scenarios import NODE, Scenarios
from tests.support.shop import Balance, Shop

from pve402.domain.lease import Lease, LeaseStatus
from pve402.domain.order import OrderStatus
from pve402.proxmox import errors
from pve402.proxmox.guests import Guests

pytestmark = pytest.mark.fakepve

TOKEN_ID, TOKEN = "root@pam!pve402", "0b5a3b3e-7d2a-4a3f-9d5c-2f1e0c9b8a77"
TEMPLATE = "debian-12-standard_12.7-1_amd64.tar.zst"
CREATE = f"/nodes/{NODE}/lxc"
SOLD, REFUSED = OrderStatus.SETTLED, OrderStatus.REFUSED


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[Scenarios]:
    """An empty node."""
    with scenarios.running(tmp_path) as made:
        made("set", "apitokens", {TOKEN_ID: TOKEN})
        template = {"content": "vztmpl", "format": "tzst", "size": 1, "ctime": 0}
        made("set", "storages.local.volumes", {f"vztmpl/{TEMPLATE}": template})
        yield made


@pytest.fixture
async def open_shop(
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    pve: Scenarios,
    tmp_path: Path,
) -> AsyncIterator[Shop]:
    """A service on that node."""
    where = {
        "pve_host": pve.url,
        "pve_token_id": TOKEN_ID,
        "pve_token_secret": TOKEN,
        "pve_ca_file": pve.certificate.certificate,
        "pve_storage": "local-lvm",
        "pve_os_template": f"local:vztmpl/{TEMPLATE}",
    }
    async with shop.running(
        tmp_path, chain, facilitator, pve402_create_wait_seconds=10, **where
    ) as made:
        yield made


def healthy(_pve: Scenarios) -> None:
    """Nothing is wrong."""


def busy(pve: Scenarios) -> None:
    """Everything takes long."""
    pve("slow_network", 5, jitter=2)


def flaky(pve: Scenarios) -> None:
    """Every tenth request is lost."""
    pve("flaky_network", drop_rate=0.1, seed=3)


def quorum_lost(pve: Scenarios) -> None:
    """The cluster cannot write."""
    pve("lose_quorum")


def not_permitted(pve: Scenarios) -> None:
    """The token lacks a right."""
    pve.fail("POST", CREATE, error="permission_check_failed")


def storage_away(pve: Scenarios) -> None:
    """The storage is not there."""
    pve("set", "storages.local-lvm.active", 0)


def page_of_a_proxy(pve: Scenarios) -> None:
    """Something in between answers."""
    pve.fail("POST", CREATE, status=502, message="Bad Gateway", html=True)


@pytest.mark.parametrize("trouble", [healthy, busy, flaky], ids=lambda trouble: trouble.__name__)
async def test_a_lease_comes_up_in_spite_of(
    pve: Scenarios, open_shop: Shop, trouble: Callable[[Scenarios], None]
):
    signed = await open_shop.sign()
    trouble(pve)

    reply = await open_shop.pay(signed)
    balance = await _deals(open_shop, await open_shop.until_over())

    assert balance.nobody_lost, (reply.body, balance)
    assert balance.order is SOLD or trouble is flaky


@pytest.mark.parametrize(
    "trouble", [quorum_lost, page_of_a_proxy], ids=lambda trouble: trouble.__name__
)
async def test_what_passes_is_waited_for(
    pve: Scenarios, open_shop: Shop, trouble: Callable[[Scenarios], None]
):
    signed = await open_shop.sign()
    trouble(pve)

    reply = await open_shop.pay(signed)
    before = await open_shop.balance()
    pve("regain_quorum")
    pve("forget_failures")
    balance = await _deals(open_shop, await open_shop.until_over())

    assert (reply.status, before.paid) == (503, 0), reply.body
    assert (balance.order, balance.nobody_lost) == (SOLD, True), balance


@pytest.mark.parametrize(
    "trouble", [not_permitted, storage_away], ids=lambda trouble: trouble.__name__
)
async def test_what_cannot_come_up_costs_nothing_and_leaves_nothing(
    pve: Scenarios, open_shop: Shop, trouble: Callable[[Scenarios], None]
):
    signed = await open_shop.sign()
    trouble(pve)

    reply = await open_shop.pay(signed)
    balance = await _deals(open_shop, await open_shop.until_over())

    assert reply.status in {502, 503}, reply.body
    assert NODE.encode() not in reply.body
    assert (balance.order, balance.nobody_lost) == (REFUSED, True), balance


def backed_up(pve: Scenarios, vmid: int) -> None:
    """A backup holds the guest's lock."""
    pve("snapshot_lock", vmid, "backup")


def configuration_held(pve: Scenarios, vmid: int) -> None:
    """Some other task holds the configuration."""
    pve("hold_config_lock", vmid, None)


def node_away(pve: Scenarios, _vmid: int) -> None:
    """The guest's node does not answer."""
    pve("set_node_offline", NODE)


def left_to_ha(pve: Scenarios, vmid: int) -> None:
    """HA says yes to a stop at once and does it much later."""
    pve("set", "ha_delay", 100_000)
    pve("set_guest", vmid, "ha_state", "started")


def relieve(pve: Scenarios, vmid: int) -> None:
    """All is well again."""
    pve("unlock", vmid)
    pve("release_config_lock", vmid)
    pve("set_node_offline", NODE, offline=False)
    pve("set_guest", vmid, "ha_state", None)


@pytest.mark.parametrize(
    "trouble",
    [backed_up, configuration_held, node_away, left_to_ha],
    ids=lambda trouble: trouble.__name__,
)
async def test_a_lease_is_over_only_when_its_guest_really_is(
    pve: Scenarios, open_shop: Shop, trouble: Callable[[Scenarios, int], None]
):
    row = await _leased(open_shop)
    trouble(pve, row.vmid)

    await open_shop.inside.leases.end(row)
    await _some_time(open_shop)
    during = await _row(open_shop)
    relieve(pve, row.vmid)
    await _until(open_shop, LeaseStatus.ENDED)

    assert during.status in {LeaseStatus.STOPPING, LeaseStatus.DELETING}
    assert await Guests(open_shop.inside.parts.proxmox).list_all() == ()


async def test_a_guest_that_will_not_shut_down_is_stopped(pve: Scenarios, open_shop: Shop):
    row = await _leased(open_shop)
    pve("set_guest", row.vmid, "shutdown_secs", 100_000)

    await open_shop.inside.leases.end(row)
    await _until(open_shop, LeaseStatus.ENDED)

    assert await Guests(open_shop.inside.parts.proxmox).list_all() == ()


async def test_a_lease_ends_on_the_node_its_guest_was_migrated_to(pve: Scenarios, open_shop: Shop):
    row = await _leased(open_shop)
    pve("migrate", row.vmid, "pve2", secs=0)
    await asyncio.sleep(0.1)

    await open_shop.inside.leases.end(row)
    ended = await _until(open_shop, LeaseStatus.ENDED)

    assert ended.node == "pve2"
    assert await Guests(open_shop.inside.parts.proxmox).list_all() == ()


async def _leased(shop: Shop) -> Lease:
    """A lease of a guest that runs on fakepve."""
    reply = await shop.pay(await shop.sign())
    assert reply.status == 200, reply.body
    return await _row(shop)


async def _row(shop: Shop) -> Lease:
    (row,) = await shop.inside.leases_now()
    return row


async def _some_time(shop: Shop) -> None:
    """Let the workers try some times."""
    for _ in range(8):
        await asyncio.sleep(0.1)
        shop.inside.pass_time(5)


async def _until(shop: Shop, status: LeaseStatus) -> Lease:
    for _ in range(200):
        if (row := await _row(shop)).status is status:
            return row
        await asyncio.sleep(0.1)
        shop.inside.pass_time(5)
    raise TimeoutError(f"the lease is still {row.status}: {row.last_error}")


async def _deals(shop: Shop, balance: Balance) -> Balance:
    """The balance, with the number of containers that fakepve has."""
    for _ in range(50):
        await shop.inside.settled_down()
        if (await shop.balance()).lease in {LeaseStatus.ACTIVE, LeaseStatus.FAILED}:
            break
        shop.inside.pass_time(5)
    guests = Guests(shop.inside.parts.proxmox)
    for _ in range(20):
        try:
            return dataclasses.replace(await shop.balance(), guests=len(await guests.list_all()))
        except errors.ProxmoxError:
            continue
    return balance
