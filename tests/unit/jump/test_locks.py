"""Which keys open which lease, and how often a guest is asked for them."""

import asyncio

import pytest
from tests.support import fake_leases, jump_rig
from tests.support.simulated_time import simulated_time

from pve402.domain import errors, lease
from pve402.hub import errors as hub_errors
from pve402.jump.locks import Locks, Shut
from pve402.jump.options import JumpOptions

__all__ = ["simulated_time"]

pytestmark = pytest.mark.usefixtures("simulated_time")

ROW = fake_leases.make_lease("eip155:84532:0x" + "1" * 40)


class Guest:
    """A guest whose keys take a while to read."""

    def __init__(self) -> None:
        self.keys = frozenset({"one"})
        self.readings = 0
        self.go_on = asyncio.Event()

    async def authorized(self, _row: lease.Lease) -> frozenset[str]:
        self.readings += 1
        keys = self.keys
        await self.go_on.wait()
        return keys


async def find(_lease_id: str) -> lease.Lease:
    return ROW


@pytest.fixture
def guest() -> Guest:
    return Guest()


@pytest.fixture
def locks(guest: Guest) -> Locks:
    return Locks(find, guest.authorized, JumpOptions(lookup_seconds=0.05))


async def test_many_who_ask_at_once_share_a_reading(locks: Locks, guest: Guest) -> None:
    first = asyncio.create_task(locks.keys(ROW))
    await jump_rig.until(lambda: guest.readings > 0)
    rest = [asyncio.create_task(locks.keys(ROW)) for _ in range(50)]
    guest.go_on.set()

    assert await asyncio.gather(first, *rest) == [guest.keys] * 51
    assert guest.readings == 2


async def test_who_comes_after_a_change_sees_it(locks: Locks, guest: Guest) -> None:
    early = asyncio.create_task(locks.keys(ROW))
    await jump_rig.until(lambda: guest.readings > 0)
    late = asyncio.create_task(locks.keys(ROW))
    await asyncio.sleep(0)
    guest.keys = frozenset({"two"})
    guest.go_on.set()

    assert (await early, await late) == ({"one"}, {"two"})


async def test_a_guest_that_does_not_answer_opens_nothing(locks: Locks, guest: Guest) -> None:
    assert await locks.keys_of_name(ROW.lease_id) == (None, frozenset())
    guest.go_on.set()
    assert await locks.keys_of_name(ROW.lease_id) == (ROW, guest.keys)


@pytest.mark.parametrize("name", ["10000", "root", "", "../../etc", "l" + "0" * 24, "L" + "0" * 25])
async def test_only_a_lease_id_names_a_lease(locks: Locks, guest: Guest, name: str) -> None:
    guest.go_on.set()
    assert await locks.keys_of_name(name) == (None, frozenset())
    assert guest.readings == 0


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"status": lease.LeaseStatus.STOPPED}, errors.LeaseNotReady),
        ({"expires_at": fake_leases.NOW.replace(year=2020)}, errors.LeaseNotReady),
    ],
)
async def test_a_lease_that_does_not_run_is_not_found(
    guest: Guest, changes: dict[str, object], refusal: type[errors.Pve402Error]
) -> None:
    async def find_other(_lease_id: str) -> lease.Lease:
        return ROW.evolve(**changes)

    locks = Locks(find_other, guest.authorized, JumpOptions())

    with pytest.raises(refusal):
        await locks.find(ROW.lease_id)


class Changing:
    """A guest that gives these answers, one after another, and then the last one again."""

    def __init__(self, *answers: frozenset[str] | Exception) -> None:
        self._answers = list(answers)

    async def authorized(self, _row: lease.Lease) -> frozenset[str]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def left(self) -> int:
        """How many answers it has left."""
        return len(self._answers)


THERE, MISSING = frozenset({"one"}), frozenset[str]()


async def test_a_key_is_removed_once_it_is_missing_twice() -> None:
    flickering = (THERE, MISSING, THERE, errors.TryLater(), MISSING, THERE)
    changing = Changing(*flickering, MISSING, errors.TryLater(), MISSING)
    locks = Locks(find, changing.authorized, JumpOptions())

    assert await locks.until_shut(ROW.lease_id, "one") is Shut.REMOVED
    assert changing.left == 1


@pytest.mark.parametrize("silence", [errors.TryLater(), hub_errors.TerminalStuck()])
async def test_a_guest_that_cannot_be_asked_has_removed_nothing_for_a_while(
    silence: errors.Pve402Error,
) -> None:
    changing = Changing(*[silence, silence, THERE] * 20, silence)
    locks = Locks(find, changing.authorized, JumpOptions(recheck_seconds=5.0, unread_seconds=20.0))
    began = asyncio.get_running_loop().time()

    assert await locks.until_shut(ROW.lease_id, "one") is Shut.UNREAD
    assert asyncio.get_running_loop().time() - began == pytest.approx(60 * 5.0 + 25.0)


@pytest.mark.parametrize(
    "busy",
    [errors.DatabaseUnavailable(), hub_errors.TooManyCommands(), hub_errors.TooManyStreams()],
)
async def test_being_too_busy_to_be_asked_shuts_nobody_out(busy: errors.Pve402Error) -> None:
    changing = Changing(*[busy] * 500, MISSING)
    locks = Locks(find, changing.authorized, JumpOptions())

    assert await locks.until_shut(ROW.lease_id, "one") is Shut.REMOVED
