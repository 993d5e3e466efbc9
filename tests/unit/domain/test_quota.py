"""Quotas: read from a setting, compared with what is leased."""

import pytest

from pve402.domain import errors, lease, quota

SIZE = lease.Size(cores=2, memory_mb=1024, disk_gb=10)


def test_each_part_may_be_left_out() -> None:
    assert quota.Quota.parse("").is_unlimited
    assert quota.Quota.parse(" leases=3, memoryMB=8192 ") == quota.Quota(leases=3, memory_mb=8192)


@pytest.mark.parametrize(
    "text",
    [
        *("3", "leases", "leases=0", "leases=-1", "leases=1.5", "lease=3", "leases=3;cores=2"),
        *("leases=1,leases=2", "cores=99999999999", "disk_gb=3"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="leases"):
        quota.Quota.parse(text)


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        ("leases=2", True),
        ("leases=1", False),
        ("cores=4", True),
        ("cores=3", False),
        ("memoryMB=2048", True),
        ("memoryMB=2047", False),
        ("diskGB=20", True),
        ("diskGB=19", False),
        ("addresses=4", True),
        ("addresses=3", False),
        ("leases=9,diskGB=19", False),
    ],
)
def test_one_more_lease_must_fit(limits: str, passes: bool) -> None:
    one = quota.Usage.of_lease(SIZE, addresses=2)

    if passes:
        quota.Quota.parse(limits).check(one, one, "one wallet")
    else:
        with pytest.raises(errors.LimitReached, match="one wallet"):
            quota.Quota.parse(limits).check(one, one, "one wallet")
