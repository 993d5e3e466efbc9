"""The setting of the warm pool: what it means and what is refused."""

import pytest
from tests.support import fake_leases

from pve402.domain import errors, lease, warm_kind


def test_a_kind_is_sku_size_and_count() -> None:
    read = warm_kind.WarmKind.parse("standard-lxc:1:512:8=2")

    assert (read.sku, read.count) == ("standard-lxc", 2)
    assert read.size == lease.Size(cores=1, memory_mb=512, disk_gb=8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "standard-lxc",
        "standard-lxc=2",
        "a:1:512=2",
        "a:1:512:8",
        "a:1:512:8=0",
        "a:-1:5:8=1",
        "a:1:512:8=1001",
        "a:1:512:8:9=1",
        "a:1:512:8=1 ",
        "a:1:512:8=x",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"count must|must be sku"):
        warm_kind.WarmKind.parse(text)


@pytest.mark.parametrize("text", ["no-such-sku:1:512:8=1", "standard-lxc:99:512:8=1"])
def test_what_no_tenant_could_ask_for_is_not_kept(text: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        warm_kind.WarmKind.parse(text).check(fake_leases.sku_catalogue())
