"""When figures say that a container is idle."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.domain import idling

START = datetime(2026, 1, 1, tzinfo=UTC)
LOOK = timedelta(seconds=30)


def seen(at: datetime = START, **changes: Any) -> idling.Figures:
    """Figures of a container that does next to nothing."""
    usual: dict[str, Any] = {
        "at": at,
        "cpu_fraction": 0.002,
        "cores": 2,
        "sent_bytes": 5000,
        "uptime_seconds": 10**6,
    }
    return idling.Figures(**{**usual, **changes})


BEFORE, LATER = seen(), START + LOOK


@pytest.mark.parametrize(
    ("changes", "quiet"),
    [
        ({}, True),
        ({"cpu_fraction": 0.0249}, True),
        ({"cpu_fraction": 0.025}, False),  # of two cores
        ({"cpu_fraction": 0.0249, "cores": 4}, False),
        ({"cpu_fraction": None}, False),
        ({"cpu_fraction": float("nan")}, False),
        ({"cpu_fraction": float("inf")}, False),
        ({"cpu_fraction": -0.1}, False),
        ({"cores": None}, False),
        ({"cores": -1}, False),
        ({"sent_bytes": None}, False),
        ({"sent_bytes": 4999}, False),
        ({"sent_bytes": -5}, False),
        ({"sent_bytes": 2**64}, False),
        ({"sent_bytes": 5000 + 1024 * 30 - 1}, True),
        ({"sent_bytes": 5000 + 1024 * 30}, False),
    ],
)
def test_it_is_quiet_only_if_all_figures_are_known_and_small(
    changes: dict[str, Any], quiet: bool
) -> None:
    assert idling.is_quiet(seen(LATER, **changes), BEFORE) is quiet


@pytest.mark.parametrize(
    "before",
    [None, seen(sent_bytes=None), seen(LATER), seen(START - timedelta(minutes=4))],
)
def test_without_an_earlier_look_nobody_knows(before: idling.Figures | None) -> None:
    assert idling.is_quiet(seen(LATER), before) is None


@given(
    minutes=st.integers(idling.LEAST_MINUTES, idling.MOST_MINUTES),
    idle_seconds=st.integers(-3600, 200_000),
    up_seconds=st.integers(0, 200_000),
)
def test_it_is_over_no_sooner_than_promised(
    minutes: int, idle_seconds: int, up_seconds: int
) -> None:
    active_at = START - timedelta(seconds=idle_seconds)

    over = idling.is_over(minutes, active_at, seen(uptime_seconds=up_seconds))

    lasted = min(up_seconds, idle_seconds - idling.NOTED_EVERY.total_seconds())
    if over:
        assert lasted >= minutes * 60
    if not over:
        assert lasted < minutes * 60 + 30


def test_use_is_written_again_after_a_minute() -> None:
    assert idling.is_noted(START, START + timedelta(seconds=59))
    assert not idling.is_noted(START, START + timedelta(seconds=60))
    assert not idling.is_noted(None, START)


def test_the_promise_leaves_room_for_what_is_written_late() -> None:
    assert timedelta(minutes=idling.LEAST_MINUTES) > idling.NOTED_EVERY * 2
    assert idling.NOTED_EVERY < idling.LOOK_GAP < timedelta(minutes=idling.LEAST_MINUTES)
