"""When something may be done inside a guest."""

from datetime import UTC, datetime, timedelta

import pytest

from pve402.domain import lease

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
Status = lease.LeaseStatus


@pytest.mark.parametrize(
    ("status", "seconds_left", "usable"),
    [
        (Status.ACTIVE, 1, True),
        (Status.ACTIVE, 0, False),
        (Status.ACTIVE, -1, False),
        (Status.ACTIVE, -3600, False),
        (Status.STARTING, 60, False),
        (Status.SETTLING, 60, False),
        (Status.STOPPED, 60, False),
        (Status.ENDED, 60, False),
    ],
)
def test_only_in_paid_time(status: lease.LeaseStatus, seconds_left: int, usable: bool) -> None:
    assert lease.is_usable(status, NOW + timedelta(seconds=seconds_left), NOW) is usable


def test_not_before_it_was_ever_paid() -> None:
    assert not lease.is_usable(Status.ACTIVE, None, NOW)
