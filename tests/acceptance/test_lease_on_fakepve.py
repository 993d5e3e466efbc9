"""A whole lease on fakepve, which others wrote, while it has the troubles of a real cluster."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import scenarios, shop
from tests.support.chain import chain, facilitator  # noqa: F401
from tests.support.scenarios import NODE, Scenarios
from tests.support.shop import Books, Shop

from pve402.domain.lease import LeaseStatus
from pve402.domain.order import OrderStatus
from pve402.proxmox import errors
from pve402.proxmox.guests import Guests

pytestmark = pytest.mark.fakepve

TOKEN_ID, TOKEN = "root@pam!pve402", "0b5a3b3e-7d2a-4a3f-9d5c-2f1e0c9b8a77"
CREATE = f"/nodes/{NODE}/lxc"
SOLD, REFUSED = OrderStatus.SETTLED, OrderStatus.REFUSED


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[Scenarios]:
    """An empty node."""
    with scenarios.running(tmp_path) as made:
        made("set", "apitokens", {TOKEN_ID: TOKEN})
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
        "pve_os_template": "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
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
    books = await _books(open_shop, await open_shop.until_over())

    assert books.nobody_lost, (reply.body, books)
    assert books.order is SOLD or trouble is flaky


@pytest.mark.parametrize(
    "trouble", [quorum_lost, page_of_a_proxy], ids=lambda trouble: trouble.__name__
)
async def test_what_passes_is_waited_for(
    pve: Scenarios, open_shop: Shop, trouble: Callable[[Scenarios], None]
):
    signed = await open_shop.sign()
    trouble(pve)

    reply = await open_shop.pay(signed)
    before = await open_shop.books()
    pve("regain_quorum")
    pve("forget_failures")
    books = await _books(open_shop, await open_shop.until_over())

    assert (reply.status, before.paid) == (503, 0), reply.body
    assert (books.order, books.nobody_lost) == (SOLD, True), books


@pytest.mark.parametrize(
    "trouble", [not_permitted, storage_away], ids=lambda trouble: trouble.__name__
)
async def test_what_cannot_come_up_costs_nothing_and_leaves_nothing(
    pve: Scenarios, open_shop: Shop, trouble: Callable[[Scenarios], None]
):
    signed = await open_shop.sign()
    trouble(pve)

    reply = await open_shop.pay(signed)
    books = await _books(open_shop, await open_shop.until_over())

    assert reply.status in {502, 503}, reply.body
    assert NODE.encode() not in reply.body
    assert (books.order, books.nobody_lost) == (REFUSED, True), books


async def _books(of: Shop, books: Books) -> Books:
    """The books with the containers that fakepve has."""
    for _ in range(50):
        await of.inside.settled_down()
        if (await of.books()).lease in {LeaseStatus.ACTIVE, LeaseStatus.FAILED}:
            break
        of.inside.pass_time(5)
    guests = Guests(of.inside.parts.proxmox)
    for _ in range(20):
        try:
            return dataclasses.replace(await of.books(), guests=len(await guests.list_all()))
        except errors.ProxmoxError:
            continue
    return books
