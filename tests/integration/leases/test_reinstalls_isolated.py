"""A reinstalled guest of an isolated network: its rules before it is there, its link after them."""

from typing import Any

from tests.integration.leases.test_isolation import (
    SETTLED,
    card_of,
    catalogue_file,
    connected,
    fenced,
    read,
    walled,
)
from tests.support import reinstalls as support
from tests.support.installation import Installation

from pve402.domain import networks

__all__ = ["catalogue_file", "fenced", "walled"]


async def test_rules_come_first_and_address_and_card_stay(fenced: Installation) -> None:
    row = await connected(fenced, (await fenced.lease()).lease)
    firewalls, card = fenced.proxmox.world.firewalls, card_of(fenced, row)
    rules, ahead = list(firewalls.read_guest(row.vmid).rules), list[Any]()
    honest = fenced.parts.guests.create

    async def create(ref: Any, spec: Any) -> Any:
        ahead.append((list(firewalls.read_guest(ref.vmid).rules), spec.network.link_down))
        return await honest(ref, spec)

    fenced.parts.guests.create = create  # type: ignore[method-assign]
    begun = support.reinstalling(fenced, row)
    await fenced.until(lambda now: now.rules_at not in {None, row.rules_at})
    await fenced.settled_down()
    waiting, waiting_card = await read(fenced, row), card_of(fenced, row)
    fenced.pass_time(SETTLED)
    await fenced.settled_down()
    await begun

    after = await read(fenced, row)
    assert ahead == [(rules, True)]
    assert (waiting.link, waiting_card["link_down"]) == (networks.Link.PENDING, "1")
    assert (after.link, after.addresses) == (networks.Link.READY, row.addresses)
    assert card_of(fenced, row) == card
    assert firewalls.read_guest(row.vmid).rules == rules
    assert fenced.runs(row.vmid)
