"""What happens without malice ends no session; a flood of it does."""

import pytest

from pve402.hub import offences


@pytest.mark.parametrize(
    ("weight", "per_second"),
    [(offences.GRAVE, 1), (offences.STRANGER, 40), (offences.LATE, 400)],
)
def test_what_is_seldom_is_forgiven(weight: float, per_second: int) -> None:
    bucket = offences.Offences(0.0)

    assert not any(bucket.add(weight, n / per_second) for n in range(100 * per_second))


@pytest.mark.parametrize(
    ("weight", "most"), [(offences.GRAVE, 17), (offences.STRANGER, 801), (offences.LATE, 8001)]
)
def test_a_flood_is_not(weight: float, most: int) -> None:
    bucket = offences.Offences(0.0)

    assert any(bucket.add(weight, 0.0) for _ in range(most))


def test_what_was_forgiven_is_no_credit() -> None:
    bucket = offences.Offences(0.0)
    bucket.add(offences.GRAVE, 1000.0)

    assert any(bucket.add(offences.GRAVE, 1000.0) for _ in range(16))
