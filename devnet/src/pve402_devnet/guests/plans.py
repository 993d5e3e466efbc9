"""Turns Proxmox's view of a guest into the plan for its launcher."""

import shlex
import shutil
import subprocess
from dataclasses import asdict
from functools import cache
from pathlib import Path

from pve402_devnet.guests import identity, login, rootfs, wire
from pve402_devnet.guests.options import GuestLimits, GuestShell, RuntimeOptions, TemplateManners
from pve402_devnet.pve.runtime import GuestSpec

SHELLS = {
    GuestShell.BASH: "/bin/bash",
    GuestShell.DASH: "/bin/dash",
    GuestShell.ASH: "/bin/sh",
    GuestShell.NONE: "/bin/sh",
}
_WAITS = "/pause"
"""What guests without a shell may run: process 1 itself stands for it."""


def make_plan(
    options: RuntimeOptions,
    spec: GuestSpec,
    ids: identity.OutsideIds | None,
    *,
    isolated: bool,
    within: int | None = None,
) -> wire.Message:
    """Describe a guest; RuntimeError if a program it needs is not installed.

    `within` is a process whose user namespace is to hold the guest's.
    """
    manners = options.manners_of(spec.template)
    entrypoint = _entrypoint(spec, manners)
    return {
        "root": asdict(_root(options, spec, manners)) if isolated else None,
        "limits": _as_rlimits(options.limits, spec.memory_mb),
        "entrypoint": entrypoint,
        "environment": dict(spec.environment),
        "obeys_shutdown": manners.obeys_shutdown and not entrypoint,
        "within": within,
        "outside_ids": [ids.first, ids.count] if ids else None,
    }


def _entrypoint(spec: GuestSpec, manners: TemplateManners) -> list[str]:
    """What to run beside process 1, which lives as long; nothing where that is the program."""
    argv = shlex.split(spec.entrypoint)
    alone = manners.shell is GuestShell.NONE and argv[:1] == [_WAITS]
    return [] if alone or spec.entrypoint == GuestSpec.entrypoint else argv


def _root(options: RuntimeOptions, spec: GuestSpec, manners: TemplateManners) -> rootfs.RootPlan:
    is_bare = manners.shell is GuestShell.NONE
    is_small = is_bare or manners.shell is GuestShell.ASH
    busybox = _find(options.busybox, "busybox-static") if is_small else None
    applets = _applets(busybox) if busybox and not is_bare else ()
    return rootfs.RootPlan(
        hostname=spec.hostname,
        login_shell=SHELLS[manners.shell],
        busybox=busybox,
        is_bare=is_bare,
        programs="" if is_small else options.programs,
        applets=tuple(name for name in applets if name not in manners.missing_commands),
        hidden_commands=manners.missing_commands,
        nameservers=spec.nameservers,
        ssh_public_keys=spec.ssh_public_keys,
        shadow=login.seal(spec.password),
    )


def _find(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise RuntimeError(f"{program} is not installed (Debian: {package})")
    return str(Path(found).resolve())


@cache
def _applets(busybox: str) -> tuple[str, ...]:
    listed = subprocess.run(  # noqa: S603 - a program of this machine, no shell
        [busybox, "--list"], capture_output=True, text=True, check=True, env={}
    )
    return tuple(listed.stdout.split())


def _as_rlimits(limits: GuestLimits, memory_mb: int) -> dict[str, int]:
    return {
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_DATA": max(memory_mb << 20, limits.memory_floor_bytes),
        "RLIMIT_CORE": 0,
    }
