"""Another node's image that cannot be cloned: its node does not answer, or all want it at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.leases.test_shared_images import (
    WISH,
    image_of,
    new_guests_go_to,
    shared_world,
    shop,
    url,
)
from tests.support import images as support
from tests.support.installation import Installation

from pve402.domain import order
from pve402.proxmox import errors as pve

__all__ = ["shared_world", "shop", "url"]


@pytest.fixture
async def to_two(shop: Installation) -> Installation:
    """The installation, whose image is on `one` and whose new guests are made on `two`."""
    await new_guests_go_to(shop, "two")
    return shop


@pytest.mark.parametrize("error", [pve.Unreachable, pve.OutcomeUnknown])
async def test_a_node_that_is_up_and_does_not_answer_keeps_no_other_node_waiting(
    to_two: Installation, error: type[pve.ProxmoxError]
) -> None:
    honest, one_at_a_time, asked = to_two.parts.proxmox.request, asyncio.Lock(), list[str]()

    async def request(method: str, path: str, *rest: Any, **named: Any) -> Any:
        if not path.startswith("/nodes/one/"):
            return await honest(method, path, *rest, **named)
        asked.append(path)
        await asyncio.sleep(0.05)
        raise error(status=595)

    @contextlib.asynccontextmanager
    async def turn(_: str) -> AsyncIterator[None]:
        async with one_at_a_time:
            yield

    to_two.parts.proxmox.request = request  # type: ignore[method-assign]
    to_two.parts.machines.turn_to_write = turn  # type: ignore[method-assign]
    leasing = [to_two.lease(**WISH) for _ in range(3)]
    rows = [answer.lease for answer in await asyncio.wait_for(asyncio.gather(*leasing), 60)]

    assert {(row.node, row.base) for row in rows} == {("two", None)}
    assert len(asked) == 1


async def test_a_call_that_is_lost_with_its_node_is_waited_for(to_two: Installation) -> None:
    async def lost(*_: Any, **__: Any) -> Any:
        to_two.proxmox.world.offline = {"one"}
        await to_two.parts.view.fresh(0.0)
        raise pve.OutcomeUnknown(status=596)

    to_two.parts.guests.clone = lost  # type: ignore[method-assign]
    leasing = asyncio.create_task(to_two.lease(**WISH))
    await to_two.until(lambda row: not row.is_image and row.create_sent_at is not None)
    to_two.pass_time(20)
    await to_two.settled_down()
    (waiting,) = await to_two.orders_now()
    to_two.pass_time(80)
    row = (await asyncio.wait_for(leasing, 60)).lease

    assert waiting.status is order.OrderStatus.CLAIMED
    assert (row.node, row.base) == ("two", None)
    assert to_two.runs(row.vmid)


async def test_an_order_does_not_wait_long_for_an_image_that_other_nodes_clone(
    to_two: Installation,
) -> None:
    image = await image_of(to_two)
    options = to_two.proxmox.world.guests[image.vmid].config.options
    options["lock"] = "disk"
    leasing = asyncio.create_task(to_two.lease(**WISH))
    await to_two.until(lambda row: not row.is_image)
    await asyncio.sleep(0)
    to_two.pass_time(16)
    unpacked = (await asyncio.wait_for(leasing, 60)).lease
    del options["lock"]
    cloned = (await to_two.lease(**WISH)).lease

    assert (unpacked.node, unpacked.base) == ("two", None)
    assert (cloned.node, cloned.base) == ("two", image.lease_id)


async def test_an_image_that_fails_on_one_node_serves_the_others(to_two: Installation) -> None:
    image = await image_of(to_two)
    to_two.fail_call(r"POST .*/clone$", text="no such cluster node 'two'")
    failed = (await to_two.lease(**WISH)).lease
    again = (await to_two.lease(**WISH)).lease
    await new_guests_go_to(to_two, "one")
    here = (await to_two.lease(**WISH)).lease

    assert (failed.base, again.base) == (None, None)
    assert (here.node, here.base) == ("one", image.lease_id)
    assert await support.unaccounted(to_two) == []
