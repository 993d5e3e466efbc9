"""Reading ranges of the SDN: all at once, and nobody waits for a node that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import cast

from tests.unit.domain.test_networks import SHIPPED

from pve402.domain import catalogue
from pve402.leases import sdn_ranges
from pve402.proxmox import ipam

NAMES = ("one", "two", "three")
TABLE = """
[network.{name}]
vnet = "{name}"
zone = "rent"
isolation = "tenant"
ipv4 = {{ subnet = "10.{n}.0.0/24", gateway = "10.{n}.0.1", from = "sdn" }}
[sku.{name}]
network = "{name}"
"""


class Ranges:
    """An address management whose vnets are full, and that answers once it may."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()

    async def count_free(self, vnet: str, _subnet: IPv4Network | IPv6Network) -> int:
        self.asked.append(vnet)
        await self.may_answer.wait()
        return 0


def sold() -> catalogue.Catalogue:
    """A catalogue with three networks whose addresses the SDN gives."""
    shipped = SHIPPED.partition("[sku.")[2].partition("\n")[2].partition("\n[")[0]
    tables = [TABLE.format(name=name, n=n) + shipped for n, name in enumerate(NAMES)]
    return catalogue.parse(SHIPPED + "\n".join(tables))


def looking(
    clock: Callable[[], float] = lambda: 0.0,
) -> tuple[Ranges, sdn_ranges.SdnRanges]:
    slow = Ranges()
    return slow, sdn_ranges.SdnRanges(cast("ipam.Ipam", slow), clock=clock)


async def test_a_slow_answer_holds_nobody_up_and_is_known_afterwards() -> None:
    slow, ranges = looking()
    wares = sold()

    early = await asyncio.gather(*(ranges.used_up(wares) for _ in range(5)))
    asked = sorted(slow.asked)
    slow.may_answer.set()
    late = await ranges.used_up(wares)

    assert set(early) == {frozenset()}
    assert asked == sorted(NAMES)  # all at once, and once for all who asked
    assert late == frozenset(NAMES)
    assert sorted(slow.asked) == sorted(NAMES)


async def test_what_was_seen_is_the_answer_until_it_is_read_anew() -> None:
    now = [0.0]
    slow, ranges = looking(lambda: now[0])
    wares = sold()
    slow.may_answer.set()
    await ranges.used_up(wares)
    slow.may_answer.clear()
    now[0] = sdn_ranges.FRESH_SECONDS

    kept = await ranges.used_up(wares)
    await ranges.stop()

    assert kept == frozenset(NAMES)
    assert len(slow.asked) == 2 * len(NAMES)
