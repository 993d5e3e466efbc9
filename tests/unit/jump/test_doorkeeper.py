"""Who may connect to the jump host."""

import dataclasses

import pytest

from pve402.jump import doorkeeper
from pve402.jump.doorkeeper import Doorkeeper, NotNow
from pve402.jump.options import JumpOptions

USUAL = JumpOptions(connections=4, strangers=3, strangers_per_party=2, per_lease=1, burst=100)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keeper(clock: Clock, **limits: float) -> Doorkeeper:
    return Doorkeeper(dataclasses.replace(USUAL, **limits), clock)  # type: ignore[arg-type]


def test_strangers_are_limited_for_each_party_and_in_all(clock: Clock) -> None:
    door = keeper(clock)
    with door.admitted("a"), door.admitted("a"):
        with pytest.raises(NotNow, match="this address are logging in"), door.admitted("a"):
            pass
        with door.admitted("b"), pytest.raises(NotNow, match="too many conn"), door.admitted("c"):
            pass
    with door.admitted("a"):
        pass


def test_whoever_logged_in_takes_no_place_of_strangers(clock: Clock) -> None:
    door = keeper(clock)
    with door.admitted("a") as one, door.admitted("a") as two:
        one.log_in("l1")
        two.log_in("l2")
        with door.admitted("a"), door.admitted("a"):
            pass
        with (
            door.admitted("b"),
            door.admitted("c"),
            pytest.raises(NotNow),
            door.admitted("d"),
        ):
            pass


def test_a_lease_has_so_many_connections(clock: Clock) -> None:
    door = keeper(clock)
    with door.admitted("a") as one, door.admitted("b") as two:
        one.log_in("l1")
        with pytest.raises(NotNow, match="of this lease"):
            two.log_in("l1")
    with door.admitted("a") as again:
        again.log_in("l1")


def test_new_connections_are_paced(clock: Clock) -> None:
    door = keeper(clock, burst=2, per_second=1.0)
    for _ in range(2):
        with door.admitted("a"):
            pass
    with pytest.raises(NotNow, match="new connections from this address"), door.admitted("a"):
        pass
    with door.admitted("b"):
        pass
    clock.seconds += 1
    with door.admitted("a"):
        pass


def test_everybody_together_is_paced_too(clock: Clock) -> None:
    door = keeper(clock, all_burst=3, all_per_second=1.0)
    for party in "abc":
        with door.admitted(party):
            pass
    with pytest.raises(NotNow, match="too many new connections;"), door.admitted("d"):
        pass


def test_each_failure_beyond_some_doubles_the_pause(clock: Clock) -> None:
    door = keeper(clock, free_failures=2, longest_pause=60.0)

    def fail() -> None:
        with door.admitted("a"):
            pass

    for _ in range(2):
        fail()
    for pause in (2, 4, 8, 16, 32, 60, 60):
        fail()
        clock.seconds += pause - 0.5
        with pytest.raises(NotNow, match="try again in 1 s"):
            fail()
        clock.seconds += 0.5
    with door.admitted("b"):
        pass


def test_failures_are_forgotten_and_logins_are_none(clock: Clock) -> None:
    door = keeper(clock, free_failures=2, longest_pause=60.0)
    for number in range(20):
        with door.admitted("a") as place:
            place.log_in(f"l{number}")
    for _ in range(6):
        for _ in range(2):
            with door.admitted("a"):
                pass
        clock.seconds += 2 * 60
    with door.admitted("a") as place:
        assert place


def test_a_bounded_number_of_parties_is_remembered(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorkeeper, "MOST_REMEMBERED", 3)
    door = keeper(clock, burst=1, per_second=0.001)
    for number in range(10):
        with door.admitted(str(number)):
            pass
    with pytest.raises(NotNow), door.admitted("9"):
        pass
    with door.admitted("0"):
        pass
