"""A guest's shell is opened while its payment settles, and closed if that fails."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.installation import Installation, World, creation, settings

from pve402 import bootstrap
from pve402.domain import errors
from pve402.proxmox.guests import GuestRef


class Shells:
    """Notes what is asked of the early shells, and how things stand then."""

    def __init__(self, installation: Installation) -> None:
        self.seen: list[tuple[str, bool, int]] = []
        self._installation = installation
        installation.parts.guest_work.early_shells = self  # type: ignore[assignment]

    def note(self, what: str, vmid: int) -> None:
        """Note whether the guest runs, and how much was earned."""
        self.seen.append((what, self._installation.runs(vmid), self._installation.earned))

    def open(self, guest: GuestRef) -> None:
        """Begin to open."""
        self.note("opened", guest.vmid)

    async def drop(self, guest: GuestRef) -> None:
        """Give up."""
        self.note("dropped", guest.vmid)

    async def close(self) -> None:
        """Give all up."""


async def test_it_is_opened_once_the_guest_runs_and_before_the_money_has_moved(
    installation: Installation,
) -> None:
    shells = Shells(installation)
    honest = installation.parts.settler.settle

    async def settle(*terms: Any, **named: Any) -> Any:
        shells.note("settles", (await installation.leases_now())[0].vmid)
        return await honest(*terms, **named)

    installation.parts.settler.settle = settle  # type: ignore[method-assign]

    await installation.lease()

    assert shells.seen == [("opened", True, 0), ("settles", True, 0)]


async def test_it_is_closed_before_a_guest_that_was_not_paid_is_destroyed(
    installation: Installation,
) -> None:
    shells = Shells(installation)
    purchase = installation.buy(installation.tenant(), creation())
    honest = installation.parts.settler.settle

    async def settle(*terms: Any, **named: Any) -> Any:
        await installation.spend_elsewhere(purchase)
        return await honest(*terms, **named)

    installation.parts.settler.settle = settle  # type: ignore[method-assign]

    with pytest.raises(errors.PaymentRefused):
        await installation.leases.create(creation(), purchase)
    await installation.settled_down()

    assert shells.seen[:2] == [("opened", True, 0), ("dropped", True, 0)]
    assert installation.marked_guests == set()


@pytest.mark.parametrize(
    ("url", "peer_bind", "opens"),
    [
        ("sqlite:///{}/db.sqlite3", None, True),
        ("postgresql://nobody@127.0.0.1/none", "127.0.0.1:4022", True),
        ("postgresql://nobody@127.0.0.1/none", None, False),
    ],
)
def test_it_keeps_no_command_out_that_another_replica_could_run(
    url: str, peer_bind: str | None, opens: bool, world: World, tmp_path: object
) -> None:
    """Replicas that cannot reach each other leave the shell to whoever gets the first command."""
    chosen = settings(url.format(tmp_path), *world, pve402_peer_bind=peer_bind)

    parts = bootstrap.build(chosen)

    assert (parts.guest_work.early_shells is not None) == opens
