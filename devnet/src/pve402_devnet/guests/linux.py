"""Linux calls that Python 3.11 lacks: namespaces, mounts and process controls.

Names and numbers are those of the manual pages unshare(2), setns(2), mount(2), pivot_root(2) and
prctl(2).
Every function raises OSError with the errno of the call.
"""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
ALL_NAMESPACES = (
    CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
)

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MS_RELATIME = 0x20_0000
MNT_DETACH = 0x2

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1

_libc = ctypes.CDLL(None, use_errno=True)

# A remount may not lift the source mount's restrictions, so these are carried over.
# Left: statvfs flag (bits/statvfs.h), right: mount flag.
_KEPT_FLAGS = (
    (os.ST_NOSUID, MS_NOSUID),
    (os.ST_NODEV, MS_NODEV),
    (os.ST_NOEXEC, MS_NOEXEC),
    (os.ST_NOATIME, MS_NOATIME),
    (os.ST_NODIRATIME, MS_NODIRATIME),
    (os.ST_RELATIME, MS_RELATIME),
)


def unshare(flags: int) -> None:
    """Move the caller (for CLONE_NEWPID its next child) into new namespaces."""
    _check(_libc.unshare(ctypes.c_int(flags)))


def join_user_namespace(pid: int) -> None:
    """Move the caller into the user namespace of a process, where it has every right."""
    descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(CLONE_NEWUSER)))
    finally:
        os.close(descriptor)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a file system or, with MS_BIND, a part of the tree that is there already."""
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        )
    )


def bind_read_only(source: str, target: str) -> None:
    """Show `source` at `target`, unchangeable; what is mounted below `source` shows as well."""
    mount(source, target, flags=MS_BIND | MS_REC)
    present = os.statvfs(target).f_flag
    kept = sum(mount_flag for file_flag, mount_flag in _KEPT_FLAGS if present & file_flag)
    mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def detach(target: str) -> None:
    """Detach a mount and everything below it, busy or not."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH))


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of the mount namespace and keep the former one at `put_old`."""
    _check(_libc.pivot_root(os.fsencode(new_root), os.fsencode(put_old)))


def set_death_signal(number: int) -> None:
    """Request a signal when the parent ends. Reset whenever the credentials change."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0))


def forbid_tracing() -> None:
    """Keep /proc/PID of the caller and ptrace from everyone without rights outside."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, as process 1 is anyway."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0))


def rename_process(name: str) -> None:
    """Write `name` over the caller's command line, which others see in /proc."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5)
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, name.encode()[: end - start - 1], min(len(name), end - start - 1))
    short = ctypes.create_string_buffer(name.rpartition("/")[2].encode()[:15])
    _check(_libc.prctl(_PR_SET_NAME, short, 0, 0, 0))


def raise_loopback() -> None:
    """Switch on `lo` in the caller's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
