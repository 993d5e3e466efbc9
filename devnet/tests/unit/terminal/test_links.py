"""Nagle's rule and late acknowledgements, with a clock that is moved by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pve402_devnet.terminal.links import Link, join

STALL = 0.04


@dataclass
class Alarm:
    at: float
    call: Callable[[], None]
    clock: "Clock"

    def cancel(self) -> None:
        if self in self.clock.alarms:
            self.clock.alarms.remove(self)


@dataclass
class Clock:
    now: float = 0.0
    alarms: list[Alarm] = field(default_factory=list)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Alarm:
        self.alarms.append(Alarm(self.now + seconds, call, self))
        return self.alarms[-1]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for alarm in [alarm for alarm in self.alarms if alarm.at <= self.now]:
            if alarm in self.alarms:
                self.alarms.remove(alarm)
                alarm.call()


@dataclass
class Wire:
    """Two joined links; what each passed on, with the time."""

    stall: float = STALL
    clock: Clock = field(default_factory=Clock)
    seen: list[tuple[float, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.down = self._link()
        self.up = self._link()
        join(self.down, self.up)

    def _link(self) -> Link:
        def note(data: bytes) -> None:
            self.seen.append((round(self.clock.now, 3), data))

        return Link(stall_seconds=self.stall, call_later=self.clock.call_later, send=note)


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_a_single_small_segment_goes_at_once(wire: Wire) -> None:
    wire.down.write(b"a")
    assert wire.seen == [(0, b"a")]


def test_a_second_small_segment_waits_for_the_acknowledgement(wire: Wire) -> None:
    wire.down.write(b"a")
    wire.clock.advance(0.01)
    wire.down.write(b"b")
    wire.down.write(b"c")
    wire.clock.advance(0.03)
    assert wire.seen == [(0, b"a"), (0.04, b"bc")]


def test_data_of_the_other_direction_acknowledges(wire: Wire) -> None:
    wire.down.write(b"a")
    wire.down.write(b"b")
    wire.clock.advance(0.001)
    wire.up.write(b"2")
    assert wire.seen == [(0, b"a"), (0.001, b"2"), (0.001, b"b")]


def test_data_that_acknowledges_leaves_a_debt_of_its_own(wire: Wire) -> None:
    wire.down.write(b"a")
    wire.up.write(b"2")
    wire.up.write(b"command")
    wire.clock.advance(0.05)
    assert wire.seen == [(0, b"a"), (0, b"2"), (0.05, b"command")]


def test_large_segments_are_acknowledged_at_once(wire: Wire) -> None:
    wire.down.write(b"x" * 537)
    wire.down.write(b"b")
    assert [len(data) for _, data in wire.seen] == [537, 1]


def test_what_is_held_goes_when_a_segment_is_full(wire: Wire) -> None:
    wire.down.write(b"a")
    for _ in range(16):
        wire.down.write(b"x" * 4096)
    assert [len(data) for _, data in wire.seen] == [1, 65_536]


def test_without_stalls_everything_passes() -> None:
    wire = Wire(stall=0)
    for data in (b"a", b"b", b"c"):
        wire.down.write(data)
    assert [data for _, data in wire.seen] == [b"a", b"b", b"c"]
    assert wire.clock.alarms == []


@pytest.mark.parametrize(("flush", "seen"), [(True, [b"a", b"b"]), (False, [b"a"])])
def test_closing_sends_or_loses_what_is_held(wire: Wire, flush: bool, seen: list[bytes]) -> None:
    wire.down.write(b"a")
    wire.down.write(b"b")
    wire.down.close(flush=flush)
    wire.clock.advance(1)
    assert [data for _, data in wire.seen] == seen
    assert wire.clock.alarms == []
