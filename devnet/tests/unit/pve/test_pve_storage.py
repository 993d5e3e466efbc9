"""Storages: names of volumes, room, and what a worker says when it makes one."""

import pytest

from pve402_devnet.pve import StorageOptions, errors, storage
from pve402_devnet.pve.options import LOCAL_LVM


@pytest.fixture
def local() -> storage.Storage:
    return storage.Storage(StorageOptions(), ())


def test_volumes_get_the_first_free_number(local: storage.Storage) -> None:
    first = local.allocate(100, 1024**3, 0)
    second = local.allocate(100, 1024**3, 0)
    local.free(first.name)

    assert (first.name, second.name) == ("100/vm-100-disk-0.raw", "100/vm-100-disk-1.raw")
    assert local.allocate(100, 1024**3, 0).name == "100/vm-100-disk-0.raw"


def test_a_thin_pool_holds_logical_volumes() -> None:
    pool = storage.Storage(LOCAL_LVM, ())

    first, second = (pool.allocate(100, 1024**3, 0) for _ in range(2))

    assert (first.name, second.name) == ("vm-100-disk-0", "vm-100-disk-1")
    assert pool.path(first.name) == "/dev/pve/vm-100-disk-0"
    assert pool.understand(first.name).owner == 100
    assert storage.allocation_log(pool, first)[:2] == [
        '  Logical volume "vm-100-disk-0" created.',
        "  Logical volume pve/vm-100-disk-0 changed.",
    ]


@pytest.mark.parametrize(
    ("full", "size", "words"),
    [
        (True, 1024**3, "free space in thin pool pve/data reached threshold"),
        (False, 0, "Invalid argument 0k"),
        (False, 1024**3, None),
    ],
)
def test_why_a_logical_volume_cannot_be_made(full: bool, size: int, words: str | None) -> None:
    pool = storage.Storage(LOCAL_LVM, ())
    pool.full = full

    problem = storage.creation_problem(pool, pool.allocate(100, size, 0))

    assert (words is None and problem is None) or (words is not None and words in str(problem))


@pytest.mark.parametrize(
    ("chosen", "name", "refusal"),
    [
        (LOCAL_LVM, "vztmpl/a.tar.gz", "unable to parse lvm volume name 'vztmpl/a.tar.gz'"),
        (LOCAL_LVM, "100/vm-100-disk-0.raw", "unable to parse lvm volume name"),
        (StorageOptions(), "vm-100-disk-0", "unable to parse directory volume name"),
    ],
)
def test_each_kind_of_storage_has_its_names(
    chosen: StorageOptions, name: str, refusal: str
) -> None:
    with pytest.raises(errors.Failure, match=refusal):
        storage.Storage(chosen, ()).understand(name)


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
