"""Build the root a guest sees, from inside its mount namespace, and leave the host's root for good.

The guest's own disk is the current directory. Programs come from the host, read-only: either the
directories below /usr, or one busybox and links to it. Everything written to the disk is written
after the change of root, so a link that an earlier run of the guest planted leads nowhere outside.
"""

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pve402_devnet.guests import linux

_STAGE = "/tmp"  # noqa: S108 - a mount point that exists on every host, covered in our namespace only
_HOST = "/.host"
_PROGRAM_DIRECTORIES = ("bin", "lib", "lib32", "lib64", "libexec", "sbin", "share")
_TOP_LINKS = ("bin", "lib", "lib32", "lib64", "sbin")
_PROGRAMS = "/usr/programs"
_ONE_PROGRAM = "/hello"
_OWN_SETTINGS = ("alternatives", "shadow*", "gshadow*", "hostname", "hosts", "mtab", "ssh_host_*")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_POWER_SIGNALS = {"halt": "USR1", "poweroff": "USR2", "reboot": "TERM"}
# The host's su and runuser ask PAM; in the guest, root may become anybody, and nobody else may.
_PAM = """auth sufficient pam_rootok.so
auth requisite pam_deny.so
account required pam_permit.so
session required pam_permit.so
"""
_DIRECTORIES = {
    "/dev": 0o755,
    "/etc": 0o755,
    "/home": 0o755,
    "/mnt": 0o755,
    "/opt": 0o755,
    "/proc": 0o555,
    "/root": 0o700,
    "/run": 0o755,
    "/srv": 0o755,
    "/sys": 0o555,
    "/tmp": 0o1777,  # noqa: S108
    "/usr": 0o755,
    "/usr/local": 0o755,
    "/usr/local/bin": 0o755,
    "/usr/local/sbin": 0o755,
    "/var": 0o755,
    "/var/tmp": 0o1777,  # noqa: S108
}


@dataclass(frozen=True, kw_only=True)
class RootPlan:
    """What the root of one guest is made of.

    `busybox` is a path on the host; None means the /usr of `programs`, a folder of the host with a
    root whose /etc is copied, or else the host's own /usr. `applets` are the names linked
    to busybox, `hidden_commands` the programs of the host's /usr that this guest shall not have.
    Where `is_bare`, busybox is there under one name that it does not know, so it ends at once.
    """

    hostname: str
    login_shell: str
    busybox: str | None = None
    is_bare: bool = False
    programs: str = ""
    applets: tuple[str, ...] = ()
    hidden_commands: tuple[str, ...] = ()
    release: str = 'PRETTY_NAME="Devnet Linux"\nNAME="Devnet Linux"\nID=devnet\n'
    nameservers: tuple[str, ...] = ()
    ssh_public_keys: str = ""
    shadow: str = field(default="*", repr=False)

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> "RootPlan":
        """Read the plan as JSON left it."""
        fields = {**message}
        for name in ("applets", "hidden_commands", "nameservers"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def enter(plan: RootPlan) -> None:
    """Make the current directory the root, with programs, /proc and /dev in it."""
    _pivot()
    Path("/").chmod(0o755)
    for path, mode in _DIRECTORIES.items():
        _ensure_directory(path, mode)
    if plan.busybox and plan.is_bare:
        Path(_ONE_PROGRAM).touch()
        linux.bind_read_only(_HOST + plan.busybox, _ONE_PROGRAM)
    elif plan.busybox:
        _install_busybox(plan.busybox, plan.applets, plan.hidden_commands)
    else:
        _show_programs(_HOST + plan.programs, plan.hidden_commands)
        if plan.programs:
            _copy_settings(Path(f"{_HOST}{plan.programs}/etc"))
        _write_power_commands()
    _mount_proc()
    _mount_devices()
    _write_identity(plan)
    linux.detach(_HOST)
    Path(_HOST).rmdir()


def _pivot() -> None:
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("stage", _STAGE, "tmpfs", 0, "size=64k,mode=755")
    new_root = f"{_STAGE}/root"
    Path(new_root).mkdir()
    linux.mount(".", new_root, flags=linux.MS_BIND)
    os.chdir(new_root)
    _ensure_directory("." + _HOST, 0o755)
    linux.pivot_root(".", "." + _HOST)
    os.chdir("/")


def _ensure_directory(path: str, mode: int) -> None:
    """Create a directory, replacing anything else that an earlier run of the guest left there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        found = None
    if found and not stat.S_ISDIR(found.st_mode):
        Path(path).unlink()
        found = None
    if not found:
        Path(path).mkdir()
        Path(path).chmod(mode)


def _show_programs(source: str, hidden: tuple[str, ...]) -> None:
    for name in _PROGRAM_DIRECTORIES:
        if Path(f"{source}/usr/{name}").is_dir():
            _ensure_directory(f"/usr/{name}", 0o755)
            linux.bind_read_only(f"{source}/usr/{name}", f"/usr/{name}")
    for name in _TOP_LINKS:
        _show_top(source, name)
    if Path(f"{source}/etc/alternatives").is_dir():
        _ensure_directory("/etc/alternatives", 0o755)
        linux.bind_read_only(f"{source}/etc/alternatives", "/etc/alternatives")
    if hidden:
        _leave_out(source, hidden)
    _ensure_directory("/etc/pam.d", 0o755)
    _write_once(Path("/etc/pam.d/other"), _PAM)


def _copy_settings(source: Path) -> None:
    """Copy a root's /etc at the guest's first start, without what each machine has of its own."""
    if Path("/etc/debian_version").exists():
        return
    own = shutil.ignore_patterns(*_OWN_SETTINGS)
    shutil.copytree(
        source, "/etc", symlinks=True, ignore=own, copy_function=_copy, dirs_exist_ok=True
    )


def _copy(source: str, target: str) -> str:
    """Copy a file that the guest's root may read; the host's may not be readable here."""
    with contextlib.suppress(PermissionError):
        shutil.copy(source, target)
    return target


def _leave_out(source: str, hidden: tuple[str, ...]) -> None:
    """Make /usr/bin a directory of links to the host's programs, except the hidden ones.

    The shells' `command -v` would still find a program that is merely covered.
    """
    _ensure_directory(_PROGRAMS, 0o755)
    linux.bind_read_only(f"{source}/usr/bin", _PROGRAMS)
    linux.mount("programs", "/usr/bin", "tmpfs", linux.MS_NODEV, "mode=755")
    for entry in os.scandir(_PROGRAMS):
        if entry.name not in hidden:
            Path(f"/usr/bin/{entry.name}").symlink_to(f"{_PROGRAMS}/{entry.name}")


def _write_power_commands() -> None:
    """Make the host init's halt, poweroff and reboot work in the guest."""
    for name, number in _POWER_SIGNALS.items():
        _write_once(Path("/usr/local/sbin") / name, f"#!/bin/sh\nkill -{number} 1\n", mode=0o755)


def _show_top(source: str, name: str) -> None:
    """Repeat a root's /bin and its like: a link to /usr on merged systems, else a directory."""
    host = Path(f"{source}/{name}")
    if host.is_symlink():
        _replace_link(f"/{name}", f"usr/{name}")
    elif host.is_dir():
        _ensure_directory(f"/{name}", 0o755)
        linux.bind_read_only(str(host), f"/{name}")


def _install_busybox(source: str, applets: tuple[str, ...], hidden: tuple[str, ...]) -> None:
    _ensure_directory("/bin", 0o755)
    _replace_link("/sbin", "bin")
    target = Path("/bin/busybox")
    target.unlink(missing_ok=True)
    if hidden:
        target.write_bytes(_without_applets(Path(_HOST + source).read_bytes(), hidden))
        target.chmod(0o755)
    else:
        target.touch()
        linux.bind_read_only(_HOST + source, str(target))
    for name in applets:
        link = Path("/bin") / name
        if not link.exists():
            _replace_link(str(link), "busybox")


def _without_applets(program: bytes, names: tuple[str, ...]) -> bytes:
    """Rename applets in busybox's own sorted table, because its shell runs them without a PATH."""
    for name in names:
        known = b"\0%b\0" % name.encode()
        program = program.replace(known, known[:-2] + b"_\0")
    return program


def _replace_link(path: str, target: str) -> None:
    link = Path(path)
    if link.is_symlink() or link.is_file():
        link.unlink()
    if not link.exists():
        link.symlink_to(target)


def _mount_proc() -> None:
    """Show the guest's own processes, or an empty directory if the host forbids that."""
    safe = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    try:
        linux.mount("proc", "/proc", "proc", safe)
    except PermissionError:  # the host's own /proc is masked in parts, as in many containers
        linux.mount("proc", "/proc", "tmpfs", safe, "size=16k,mode=555")


def _mount_devices() -> None:
    safe = linux.MS_NOSUID | linux.MS_NOEXEC
    linux.mount("dev", "/dev", "tmpfs", safe, "size=64k,mode=755")
    for name in _DEVICES:
        Path(f"/dev/{name}").touch()
        linux.mount(f"{_HOST}/dev/{name}", f"/dev/{name}", flags=linux.MS_BIND)
    Path("/dev/pts").mkdir()
    linux.mount("devpts", "/dev/pts", "devpts", safe, "newinstance,ptmxmode=0666,mode=620")
    Path("/dev/ptmx").symlink_to("pts/ptmx")
    Path("/dev/fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        Path(f"/dev/{name}").symlink_to(f"/proc/self/fd/{number}")
    Path("/dev/shm").mkdir()  # noqa: S108
    linux.mount("shm", "/dev/shm", "tmpfs", safe | linux.MS_NODEV, "size=16m,mode=1777")  # noqa: S108


def _write_identity(plan: RootPlan) -> None:
    """Write what Proxmox rewrites at each start, and the accounts of a fresh disk."""
    etc = Path("/etc")
    _write(etc / "hostname", f"{plan.hostname}\n")
    _write(etc / "hosts", f"127.0.0.1 localhost\n127.0.1.1 {plan.hostname}\n::1 localhost\n")
    if plan.nameservers:
        _write(etc / "resolv.conf", "".join(f"nameserver {one}\n" for one in plan.nameservers))
    _write_once(etc / "os-release", plan.release)
    _write_once(etc / "passwd", _accounts(plan.login_shell))
    _write_once(etc / "group", "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n")
    _write_once(etc / "shadow", f"root:{plan.shadow}:19000:0:99999:7:::\n", mode=0o600)
    if plan.ssh_public_keys:
        _ensure_directory("/root/.ssh", 0o700)
        _write_once(Path("/root/.ssh/authorized_keys"), plan.ssh_public_keys, mode=0o600)


def _accounts(login_shell: str) -> str:
    return (
        f"root:x:0:0:root:/root:{login_shell}\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _write_once(path: Path, text: str, mode: int = 0o644) -> None:
    if not path.exists():
        _write(path, text, mode)
