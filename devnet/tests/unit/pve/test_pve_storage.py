"""Storages: names of volumes, room, and what a worker says when it makes one."""

import pytest

from pve402_devnet.pve import StorageOptions, errors, storage


@pytest.fixture
def local() -> storage.Storage:
    return storage.Storage(StorageOptions(), ())


def test_volumes_get_the_first_free_number(local: storage.Storage) -> None:
    first = local.allocate(100, 1024**3, 0)
    second = local.allocate(100, 1024**3, 0)
    local.free(first.name)

    assert (first.name, second.name) == ("100/vm-100-disk-0.raw", "100/vm-100-disk-1.raw")
    assert local.allocate(100, 1024**3, 0).name == "100/vm-100-disk-0.raw"


def test_a_size_of_zero_is_a_directory_without_limit(local: storage.Storage) -> None:
    made = local.allocate(100, 0, 0)

    assert made.name == "100/subvol-100-disk-0.subvol"
    assert made.is_subvolume


@pytest.mark.parametrize(
    ("gib", "blocks", "inodes", "backups"),
    [
        ("0.5", 131072, 32768, "\t32768, 98304"),
        ("1", 262144, 65536, "\t32768, 98304, 163840, 229376"),
        ("4", 1048576, 262144, "\t32768, 98304, 163840, 229376, 294912, 819200, 884736"),
    ],
)
def test_the_log_of_a_new_file_system(gib: str, blocks: int, inodes: int, backups: str) -> None:
    lines = storage.format_log(storage.parse_new_disk(gib))

    assert lines[0] == f"Creating filesystem with {blocks} 4k blocks and {inodes} inodes"
    assert lines[-1] == backups


def test_room_is_taken_and_can_run_out(local: storage.Storage) -> None:
    before = local.available_bytes
    made = local.allocate(100, 1024**3, 0)

    assert before - local.available_bytes == made.used_bytes
    assert storage.creation_problem(local, made) is None
    local.full = True
    assert "No space left on device" in (storage.creation_problem(local, made) or "")


@pytest.mark.parametrize(
    ("name", "content", "owner"),
    [
        ("vztmpl/debian-12-standard_12.2-1_amd64.tar.zst", "vztmpl", None),
        ("iso/x.iso", "iso", None),
        ("100/vm-100-disk-0.raw", "images", 100),
        ("backup/vzdump-lxc-100-2026_01_01-00_00_00.tar.zst", "backup", 100),
        ("snippets/x.sh", "snippets", None),
    ],
)
def test_volume_names_are_understood(name: str, content: str, owner: int | None) -> None:
    parsed = storage.parse_volume_name(name)

    assert (parsed.content, parsed.owner) == (content, owner)


@pytest.mark.parametrize("name", ["8G", "vztmpl/../x.tar.gz", "iso/x", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(errors.Failure, match="unable to parse directory volume name"):
        storage.parse_volume_name(name)
