"""Names of snapshots: what tenants may call them, and what they are called on Proxmox."""

import pytest

from pve402.domain import errors, snapshots


@pytest.mark.parametrize("name", ["ab", "a1", "before-upgrade", "Before_2", "a" * 40, "currents"])
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert snapshots.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "a", "current", "Current", "vzdump", "1abc", "-ab", "a" * 41, "a/b", "a b", ".."),
        *("ä", "éa", "a\nb", "ab\n", "a;b", "a%2fb", "a\x00b", "a" * 1_000_000),
    ],
    ids=range(19),
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        snapshots.check_name(name)


def test_no_name_on_proxmox_is_used_twice_or_can_be_a_tenants() -> None:
    names = {snapshots.new_pve_name() for _ in range(100)}

    assert len(names) == 100
    assert all(len(name) <= 40 and name[0].isalpha() for name in names)
    assert all(name.startswith("pve402-") for name in names)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("container_locked", snapshots.ContainerLocked),
        ("snapshots_not_possible", snapshots.SnapshotsNotPossible),
        ("snapshot_failed", snapshots.SnapshotFailed),
        ("of a later version", snapshots.SnapshotFailed),
        (None, type(None)),
    ],
)
def test_a_stored_problem_is_told_by_its_code(problem: str | None, kind: type) -> None:
    assert type(snapshots.refusal(problem)) is kind


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("container_locked", "container_locked"),
        ("snapshot_not_deleted", "snapshot_not_deleted"),
        ("of a later version", "snapshot_failed"),
        (None, None),
    ],
)
def test_a_tenant_reads_only_codes_that_are_known(problem: str | None, told: str | None) -> None:
    assert snapshots.told(problem) == told
