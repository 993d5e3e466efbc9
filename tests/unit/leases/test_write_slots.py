"""How many calls may change a node at once."""

import pytest

from pve402.leases import options

OPTIONS = options.LeaseOptions(instance="test", default_template="local:vztmpl/t.tar.zst")


@pytest.mark.parametrize(
    ("cores", "number"), [(None, 4), (1, 4), (4, 4), (8, 8), (16, 16), (128, 16)]
)
def test_they_follow_its_cores(cores: int | None, number: int) -> None:
    assert OPTIONS.writes_on(cores) == number


@pytest.mark.parametrize("cores", [None, 1, 128])
def test_the_operator_decides_otherwise(cores: int | None) -> None:
    chosen = options.LeaseOptions(instance="test", default_template="t", writes_per_node=2)

    assert chosen.writes_on(cores) == 2
