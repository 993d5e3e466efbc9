"""One owner a guest, over a shared database, whatever becomes of the replicas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from pve402.domain import errors
from pve402.guests.ownership import HOLD_SECONDS, StoredOwnership
from pve402.proxmox.guests import GuestRef
from pve402.storage import tables
from pve402.storage.database import Database
from pve402.storage.transaction import Transaction

GUEST = GuestRef(node="pve", vmid=10_000)


@dataclass
class Clock:
    """A clock that tests move."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Replicas:
    """Replicas on one database, whose clocks and the database's move together."""

    db: Database
    clock: Clock

    def start(self, address: str) -> StoredOwnership:
        """Start a replica."""
        return StoredOwnership(self.db, address, clock=self.clock)

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everybody."""
        self.clock.now += seconds
        self.db.shift_seconds += seconds


@pytest.fixture
def replicas(db: Database) -> Replicas:
    return Replicas(db=db, clock=Clock())


async def _epoch(db: Database) -> int:
    async with db.read() as tx:
        return int(await tx.scalar(sa.select(tables.guest_owners.c.epoch)) or 0)


async def test_the_first_to_ask_is_the_owner_and_others_learn_where(replicas: Replicas):
    first, second = replicas.start("10.0.0.1:1"), replicas.start("10.0.0.2:1")

    ours, theirs = await first.claim(GUEST), await second.claim(GUEST)

    assert ours.is_ours
    assert (theirs.is_ours, theirs.owner_address) == (False, "10.0.0.1:1")


async def test_of_many_who_ask_at_once_one_is_the_owner(replicas: Replicas):
    asking = [replicas.start(f"10.0.0.{n}:1") for n in range(1, 9)]

    claims = await asyncio.gather(*(replica.claim(GUEST) for replica in asking))

    assert sum(claim.is_ours for claim in claims) == 1
    assert len({claim.owner_address for claim in claims if not claim.is_ours}) == 1


async def test_a_guest_keeps_its_owner_on_another_node(replicas: Replicas):
    first, second = replicas.start("10.0.0.1:1"), replicas.start("10.0.0.2:1")
    await first.claim(GUEST)

    moved = await second.claim(GuestRef(node="pve2", vmid=GUEST.vmid))

    assert moved.owner_address == "10.0.0.1:1"


async def test_a_silent_owner_is_replaced_after_seconds_and_not_before(replicas: Replicas):
    first, second = replicas.start("10.0.0.1:1"), replicas.start("10.0.0.2:1")
    await first.claim(GUEST)

    replicas.pass_time(HOLD_SECONDS - 0.5)
    early = await second.claim(GUEST)
    replicas.pass_time(1)
    late = await second.claim(GUEST)

    assert (early.is_ours, late.is_ours) == (False, True)
    assert not await first.renew(GUEST)
    assert not (await first.claim(GUEST)).is_ours


async def test_an_owner_stops_believing_before_another_may_take_over(replicas: Replicas):
    owner = replicas.start("10.0.0.1:1")
    await owner.claim(GUEST)
    replicas.pass_time(HOLD_SECONDS - 0.9)
    taken = {"replica": "another", "peer_url": "10.0.0.2:1"}

    async with replicas.db.begin() as tx:
        await tx.execute(tables.guest_owners.update().values(taken))

    assert not (await owner.claim(GUEST)).is_ours


async def test_renewing_holds_on_to_every_guest_at_once(replicas: Replicas):
    owner, other = replicas.start("10.0.0.1:1"), replicas.start("10.0.0.2:1")
    guests = [GuestRef(node="pve", vmid=vmid) for vmid in range(10_000, 10_020)]
    for guest in guests:
        await owner.claim(guest)

    for _ in range(5):
        replicas.pass_time(2)
        assert await owner.renew(guests[0])

    claims = [await other.claim(guest) for guest in guests]
    assert not any(claim.is_ours for claim in claims)


async def test_a_claim_that_is_believed_asks_nobody(replicas: Replicas):
    owner = replicas.start("10.0.0.1:1")
    await owner.claim(GUEST)
    await replicas.db.close()

    assert (await owner.claim(GUEST)).is_ours
    assert await owner.renew(GUEST)


async def test_a_database_that_is_away_ends_a_claim_in_time(replicas: Replicas, monkeypatch):
    owner = replicas.start("10.0.0.1:1")
    await owner.claim(GUEST)

    def away(*_: object) -> None:
        raise errors.DatabaseUnavailable

    monkeypatch.setattr(replicas.db, "begin", away)
    replicas.clock.now += 3
    still = await owner.renew(GUEST)
    replicas.clock.now += 3

    assert (still, await owner.renew(GUEST)) == (True, False)
    with pytest.raises(errors.DatabaseUnavailable):
        await owner.claim(GUEST)


async def test_a_guest_that_was_let_go_is_free_at_once(replicas: Replicas):
    first, second = replicas.start("10.0.0.1:1"), replicas.start("10.0.0.2:1")
    await first.claim(GUEST)

    await first.release(GUEST)
    await second.release(GUEST)

    assert (await second.claim(GUEST)).is_ours
    assert await first.address_of_other(GUEST) == "10.0.0.2:1"


async def test_a_late_release_does_not_take_it_from_the_next(replicas: Replicas):
    first, second = replicas.start("10.0.0.1:1"), replicas.start("10.0.0.2:1")
    await first.claim(GUEST)
    replicas.pass_time(HOLD_SECONDS + 1)
    await second.claim(GUEST)

    await first.release(GUEST)

    assert await second.renew(GUEST)
    assert not (await first.claim(GUEST)).is_ours


async def test_a_restarted_replica_takes_over_from_its_former_life(replicas: Replicas):
    await replicas.start("10.0.0.1:1").claim(GUEST)

    again = await replicas.start("10.0.0.1:1").claim(GUEST)

    assert again.is_ours


async def test_replicas_without_an_address_do_not_take_one_another_for_themselves(
    replicas: Replicas,
):
    await replicas.start("").claim(GUEST)

    other = await replicas.start("").claim(GUEST)

    assert (other.is_ours, other.owner_address) == (False, "")


async def test_the_epoch_grows_with_each_change_of_the_owner_alone(replicas: Replicas):
    first, second = replicas.start("10.0.0.1:1"), replicas.start("10.0.0.2:1")
    await first.claim(GUEST)
    before = await _epoch(replicas.db)
    replicas.pass_time(HOLD_SECONDS - 1)
    await first.claim(GUEST)
    same = await _epoch(replicas.db)
    await first.release(GUEST)
    await second.claim(GUEST)

    assert (before, same, await _epoch(replicas.db)) == (1, 1, 2)


async def test_a_guest_that_is_claimed_while_it_is_let_go_of_stays_claimed(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
):
    first, second = replicas.start("10.0.0.1:1"), replicas.start("10.0.0.2:1")
    await first.claim(GUEST)
    honest, begun = replicas.db.begin, asyncio.Event()

    @contextlib.asynccontextmanager
    async def late() -> AsyncIterator[Transaction]:
        """The release waits for its turn in the database until the claim had one."""
        monkeypatch.setattr(replicas.db, "begin", honest)
        begun.set()
        await asyncio.sleep(0.2)
        async with honest() as tx:
            yield tx

    monkeypatch.setattr(replicas.db, "begin", late)
    releasing = asyncio.create_task(first.release(GUEST))
    await begun.wait()
    again = await first.claim(GUEST)
    await releasing

    assert again.is_ours
    assert not (await second.claim(GUEST)).is_ours
