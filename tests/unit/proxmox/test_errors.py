"""The tree of errors and the table that chooses among them."""

import contextlib
import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.proxmox import errors, messages
from pve402.proxmox.answers import Answer, Call, read, scrub

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, errors.ProxmoxError)
]
READ = Call(method="GET", path="/version")


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_every_class_says_what_it_means(found: type[errors.ProxmoxError]) -> None:
    assert vars(found)["message"]


@pytest.mark.parametrize(
    ("message", "error", "subject"),
    [
        ("no such cluster node 'pve9'", errors.NodeUnknown, "pve9"),
        ("cluster not ready - no quorum?", errors.NoQuorum, ""),
        ("storage 'ceph' is not available on node 'pve'", errors.StorageMissing, "ceph"),
        ("pool 'rented' does not exist", errors.PoolMissing, "rented"),
        ("storage 'ceph' is disabled", errors.StorageMissing, "ceph"),
        ("storage 'nfs' is not online", errors.StorageMissing, "nfs"),
        (
            "error during cfs-locked 'storage-local' operation: got lock request timeout",
            errors.GuestLocked,
            "storage-local",
        ),
        (
            "cfs-lock 'domain-user' error: got lock request timeout",
            errors.GuestLocked,
            "domain-user",
        ),
        ("VM is locked (snapshot-delete)", errors.GuestLocked, "snapshot-delete"),
        ("can't aquire lock '/var/lock/pve-storage.lck' - busy", errors.GuestLocked, "pve-storage"),
        (
            "unable to open file '/etc/pve/nodes/pve/lxc/9.conf.tmp.7' - Permission denied",
            errors.NoQuorum,
            "",
        ),
        ("unable to write '/etc/pve/user.cfg' - Device or resource busy", errors.NoQuorum, ""),
        (
            "close (rename) atomic file '/etc/pve/lxc/9.conf' failed: Input/output error",
            errors.NoQuorum,
            "",
        ),
        (
            "unable to activate storage 'usb' - directory '/mnt/usb' does not exist",
            errors.StorageMissing,
            "usb",
        ),
        (
            "could not activate storage 'zfs', zfs error: cannot import 'tank': no such pool",
            errors.StorageMissing,
            "zfs",
        ),
        ("zfs error: cannot open 'tank': no such pool", errors.StorageMissing, "tank"),
        ("no such volume group 'vg1'", errors.StorageMissing, "vg1"),
        ("mount error: mount.nfs: Connection timed out", errors.StorageMissing, ""),
        ("rbd error: rbd: couldn't connect to the cluster!", errors.StorageMissing, ""),
        (
            "storage 'iso' does not support container directories",
            errors.StorageMissing,
            "iso",
        ),
        (
            "content type 'rootdir' is not available on storage 'iso'",
            errors.StorageMissing,
            "iso",
        ),
        ("no such logical volume pve/vm-9-disk-0", errors.VolumeMissing, "pve/vm-9-disk-0"),
        (
            "tar: /mnt/t/d.tar.zst: Cannot open: No such file or directory",
            errors.VolumeMissing,
            "/mnt/t/d.tar.zst",
        ),
        ("write failed: Disk quota exceeded", errors.StorageFull, ""),
        (
            "Cannot create new thin volume, free space in thin pool pve/data reached threshold.",
            errors.StorageFull,
            "",
        ),
        ("unable to create CT 9 - write: No space left on device", errors.StorageFull, ""),
        ("Volume group has insufficient free space (3 extents)", errors.StorageFull, ""),
        ("cannot create 'rpool/x': out of space", errors.StorageFull, ""),
        ("VM 105 is running - destroy failed", errors.GuestRunning, "105"),
        (
            "Configuration file 'nodes/b/qemu-server/7.conf' does not exist",
            errors.GuestMissing,
            "7",
        ),
        ("connection check for storage 'nfs' failed - timeout", errors.StorageMissing, "nfs"),
        ("can't remove VM 7 - protection mode enabled", errors.GuestProtected, "7"),
        ("can't remove unused disk - protection mode enabled", errors.GuestProtected, ""),
        ("user 'a@pve' does not exist", errors.UserMissing, "a@pve"),
        ("role 'Console' already exists", errors.RoleExists, "Console"),
        ("something new", errors.ProxmoxFault, ""),
        ("", errors.ProxmoxFault, ""),
    ],
)
def test_texts_of_other_hosts_have_their_classes(
    message: str, error: type[errors.ProxmoxError], subject: str
) -> None:
    found = messages.classify(message)

    assert type(found) is error
    assert found.subject == subject


def test_a_guest_error_knows_its_vmid_where_it_was_told() -> None:
    assert isinstance(found := messages.classify("CT 101 not running"), errors.GuestNotRunning)
    assert found.vmid == 101
    assert errors.GuestLocked(subject="create").vmid is None


def test_a_permission_error_names_path_and_privileges() -> None:
    told = errors.PermissionDenied("Permission check failed (/vms/1, VM.Config.Disk|VM.Config.CPU)")
    untold = errors.PermissionDenied("Permission check failed (pool 'x' does not exist)")

    assert (told.path, told.privileges) == ("/vms/1", {"VM.Config.Disk", "VM.Config.CPU"})
    assert (untold.path, untold.privileges) == ("", frozenset())


def test_a_text_shows_call_message_and_status() -> None:
    error = errors.GuestMissing("gone", call="GET /x", status=500)

    assert str(error) == "GET /x: gone (HTTP 500)"
    assert str(errors.GuestMissing()) == "There is no such guest."


@given(st.text(max_size=5000))
def test_any_message_becomes_one_bounded_printable_line(text: str) -> None:
    tidy = messages.tidy(text)

    assert len(tidy) <= 1000
    assert tidy.isprintable()


@given(st.binary(max_size=300), st.integers(100, 999), st.text(max_size=50))
def test_any_answer_is_a_reply_or_an_error(body: bytes, status: int, reason: str) -> None:
    with contextlib.suppress(errors.ProxmoxError):
        reply = read(Answer(status=status, reason=reason, body=body), READ)
        assert status == 200
        assert json.loads(body)["data"] == reply.data


@given(st.text(min_size=4, max_size=20), st.text(max_size=50), st.text(max_size=50))
def test_a_secret_is_cut_out_of_any_text(secret: str, before: str, after: str) -> None:
    assert secret in "<secret>" or secret not in scrub(f"{before}{secret}{after}", [secret])
