"""Guests as process trees in namespaces: the devnet's answer to `lxc-start` and `lxc-stop`."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pve402.devnet.guests import login, output, process, removal, rootfs, usage, wire
from pve402.devnet.guests.options import GuestLimits, GuestShell, RuntimeOptions, TemplateManners
from pve402.devnet.pve import runtime as pve

_SHELLS = {GuestShell.BASH: "/bin/bash", GuestShell.DASH: "/bin/dash", GuestShell.ASH: "/bin/sh"}
_COLUMNS, _ROWS = 80, 20  # what termproxy 2.1 gives a new terminal


@dataclass(frozen=True, kw_only=True)
class _Guest:
    process: process.GuestProcess
    shell: GuestShell
    started_at: float


class NamespaceRuntime:
    """Every guest a real process tree: root inside, unprivileged outside (`pve.GuestRuntime`).

    A guest's disk is the directory `<disks>/<vmid>`; it stays from `start` to `destroy`.
    """

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options
        self._guests: dict[int, _Guest] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._applets: tuple[str, ...] | None = None

    async def start(self, vmid: int, spec: pve.GuestSpec) -> None:
        """Bring the guest up; RuntimeError where the machine refuses namespaces."""
        async with self._lock(vmid):
            if vmid in self._guests:
                return
            manners = self._options.manners_of(spec.template)
            disk = self._prepare_disk(vmid)
            started = process.GuestProcess(self._plan(spec, manners), disk)
            try:
                await started.wait_until_running(self._options.start_limit_seconds)
            except BaseException:
                await started.kill()
                raise
            guest = _Guest(process=started, shell=manners.shell, started_at=time.monotonic())
            self._guests[vmid] = guest
            started.ended.add_done_callback(lambda _: self._forget(vmid, guest))

    async def stop(self, vmid: int) -> None:
        """Kill the guest; returns when nothing of it runs."""
        guest = self._guests.get(vmid)
        if guest:
            await guest.process.kill()

    async def shutdown(self, vmid: int, timeout_seconds: float) -> bool:
        """Send the guest's first process what SIGPWR means to it."""
        guest = self._guests.get(vmid)
        return guest is None or await guest.process.shutdown(timeout_seconds)

    async def is_running(self, vmid: int) -> bool:
        """Tell whether the first process of the guest is alive."""
        return vmid in self._guests

    async def addresses(self, vmid: int) -> Sequence[pve.GuestAddress]:
        """Report loopback, the only interface such a guest has."""
        if vmid not in self._guests:
            return ()
        return (
            pve.GuestAddress(
                name="lo",
                hardware_address="00:00:00:00:00:00",
                inet="127.0.0.1/8",
                inet6="::1/128",
            ),
        )

    async def destroy(self, vmid: int) -> None:
        """Kill the guest and remove its disk."""
        await self.stop(vmid)
        async with self._lock(vmid):
            await asyncio.to_thread(removal.remove_tree, self._disk(vmid))
        self._locks.pop(vmid, None)

    async def usage(self, vmid: int) -> pve.GuestUsage | None:
        """Measure memory, CPU time and disk; the guest has no network to count."""
        guest = self._guests.get(vmid)
        if guest is None:
            return None
        uptime = time.monotonic() - guest.started_at
        tree = await asyncio.to_thread(usage.measure_tree, guest.process.pid)
        disk_bytes = await asyncio.to_thread(usage.measure_disk, self._disk(vmid))
        return pve.GuestUsage(
            cpu=tree.cpu_seconds / max(uptime, 1.0),
            memory_bytes=tree.memory_bytes,
            disk_bytes=disk_bytes,
            uptime_seconds=int(uptime),
        )

    async def exec(self, vmid: int, argv: Sequence[str]) -> pve.ExecResult:
        """Run a command in a running guest, with nothing on its input."""
        guest = self._require(vmid)
        pipe = output.OutputPipe(self._options.exec_output_bytes)
        try:
            started = await guest.process.run(argv, pipe.writer)
            pipe.close_writer()
            async with asyncio.timeout(self._options.exec_limit_seconds):
                code = await asyncio.shield(started.exit_code)
            text = (await pipe.finish()).decode(errors="replace")
        except TimeoutError as error:
            raise RuntimeError("command did not end in time") from error
        finally:
            pipe.close()
        return pve.ExecResult(exit_code=code if code >= 0 else 128 - code, output=text)

    async def open_console(self, vmid: int, cmode: str) -> process.Started:
        """Start what a console of this mode shows: a root shell, or a login prompt before it.

        RuntimeError says that the guest does not run. The caller owns the terminal.
        """
        guest = self._require(vmid)
        argv = [_SHELLS[guest.shell]]
        return await guest.process.open_terminal(
            argv, login=cmode != "shell", columns=_COLUMNS, rows=_ROWS
        )

    async def close(self) -> None:
        """Kill every guest; disks stay."""
        await asyncio.gather(*(self.stop(vmid) for vmid in tuple(self._guests)))

    def _require(self, vmid: int) -> _Guest:
        guest = self._guests.get(vmid)
        if guest is None:
            raise RuntimeError(f"CT {vmid} not running")
        return guest

    def _forget(self, vmid: int, guest: _Guest) -> None:
        if self._guests.get(vmid) is guest:
            del self._guests[vmid]

    def _lock(self, vmid: int) -> asyncio.Lock:
        return self._locks.setdefault(vmid, asyncio.Lock())

    def _disk(self, vmid: int) -> Path:
        return Path(self._options.disks) / str(vmid)

    def _prepare_disk(self, vmid: int) -> Path:
        disk = self._disk(vmid)
        if not disk.exists():
            disk.mkdir(parents=True, mode=0o755)
            if os.getuid() == 0:
                first = self._options.first_outside_id
                os.chown(disk, first, first)
        return disk

    def _plan(self, spec: pve.GuestSpec, manners: TemplateManners) -> wire.Message:
        root = rootfs.RootPlan(
            hostname=spec.hostname,
            login_shell=_SHELLS[manners.shell],
            busybox=self._busybox() if manners.shell is GuestShell.ASH else None,
            applets=self._applet_names(manners) if manners.shell is GuestShell.ASH else (),
            hidden_commands=manners.missing_commands,
            shadow=login.seal(spec.password),
        )
        return {
            "root": asdict(root),
            "limits": _as_rlimits(self._options.limits, spec.memory_mb),
            "obeys_shutdown": manners.obeys_shutdown,
            "outside_id": self._options.first_outside_id if os.getuid() == 0 else None,
        }

    def _busybox(self) -> str:
        found = shutil.which(self._options.busybox)
        if found is None:
            raise RuntimeError("busybox is not installed (Debian: busybox-static)")
        return str(Path(found).resolve())

    def _applet_names(self, manners: TemplateManners) -> tuple[str, ...]:
        if self._applets is None:
            listed = subprocess.run(  # noqa: S603 - a program of this machine, no shell
                [self._busybox(), "--list"], capture_output=True, text=True, check=True, env={}
            )
            self._applets = tuple(listed.stdout.split())
        return tuple(name for name in self._applets if name not in manners.missing_commands)


def _as_rlimits(limits: GuestLimits, memory_mb: int) -> dict[str, int]:
    return {
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_DATA": max(memory_mb << 20, limits.memory_floor_bytes),
        "RLIMIT_CORE": 0,
    }
