"""Guests as process trees in namespaces: the devnet's answer to `lxc-start` and `lxc-stop`."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from pve402_devnet.guests import (
    copying,
    exits,
    identity,
    output,
    plans,
    process,
    removal,
    usage,
    wire,
)
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.pve import runtime as pve

logger = structlog.get_logger(__name__)

_REFUSAL = (
    "guests need Linux user namespaces, and this machine refuses them: {error}. "
    "With --unsafe-shells they are plain processes without any isolation."
)
_REBOOT_SECONDS = 0.2
_COLUMNS, _ROWS = 80, 20  # what termproxy 2.1 gives a new terminal


@dataclass(frozen=True, kw_only=True)
class _Guest:
    process: process.GuestProcess
    spec: pve.GuestSpec
    started_at: float


@dataclass(frozen=True)
class _Cpu:
    """Processor time used, and when that was measured, in seconds since the start."""

    used_seconds: float = 0.0
    at_seconds: float = 0.0

    def share_since(self, before: "_Cpu") -> float:
        elapsed = self.at_seconds - before.at_seconds
        if elapsed <= 0:  # started again since
            return self.used_seconds / max(self.at_seconds, 1.0)
        return max(0.0, self.used_seconds - before.used_seconds) / elapsed


class NamespaceRuntime:
    """Every guest a real process tree: root inside, unprivileged outside (`pve.GuestRuntime`).

    A guest's disk is the directory `<disks>/<vmid>`; it stays from `start` to `destroy`. Its
    snapshots are copies, `<disks>/<vmid>.snapshots/<name>`.
    """

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options
        self._guests: dict[int, _Guest] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._cpu: dict[int, _Cpu] = {}
        self._restarts: set[asyncio.Task[None]] = set()
        self._ids = identity.choose(options.first_outside_id)
        self._isolated: bool | None = None
        self._within: int | None = None

    def live_within(self, process: int) -> None:
        """Have guests made within the user namespace of a process, which rules their networks.

        For an ordinary user; root rules them anyway.
        """
        self._within = process

    async def check(self) -> None:
        """Start and end a guest; RuntimeError says why this machine cannot have any.

        With `unsafe_shells` that is no error, and later guests are plain processes.
        """
        with tempfile.TemporaryDirectory(prefix="pve402-probe-") as directory:
            disk = self._prepare_disk(Path(directory) / "0")
            spec = pve.GuestSpec(node="", hostname="probe", template="dash")
            try:
                await (await self._launch(spec, disk, isolated=True)).kill()
            except RuntimeError as error:
                self._isolated = False
                if not self._options.unsafe_shells:
                    raise RuntimeError(_REFUSAL.format(error=error)) from error
                logger.warning("guests_not_isolated", error=str(error))
                return
        self._isolated = True

    async def start(self, vmid: int, spec: pve.GuestSpec) -> None:
        """Bring the guest up; RuntimeError where the machine refuses namespaces."""
        if self._isolated is None and self._options.unsafe_shells:
            await self.check()
        async with self._lock(vmid):
            if vmid in self._guests:
                return
            disk = self._prepare_disk(self.disk(vmid))
            started = await self._launch(spec, disk, isolated=self._isolated is not False)
            guest = _Guest(process=started, spec=spec, started_at=time.monotonic())
            self._guests[vmid] = guest
            started.ended.add_done_callback(lambda ended: self._on_end(vmid, guest, ended.result()))

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

    def running(self) -> frozenset[int]:
        """Name the guests that run now."""
        return frozenset(self._guests)

    def process_of(self, vmid: int) -> int | None:
        """A process in the guest's namespaces; None unless it runs in some."""
        guest = self._guests.get(vmid)
        return None if guest is None or self._isolated is False else guest.process.pid

    async def destroy(self, vmid: int) -> None:
        """Kill the guest and remove its disk and its snapshots."""
        await self.stop(vmid)
        for path in (self.disk(vmid), self._snapshots(vmid)):
            await self._on_disk(vmid, removal.remove_tree, path)
        self._locks.pop(vmid, None)
        self._cpu.pop(vmid, None)

    async def copy(self, source: int, target: int, *, snapshot: str = "") -> None:
        """Copy the disk of a guest as it is now, or as a snapshot kept it."""
        origin = self._snapshots(source) / snapshot if snapshot else self.disk(source)
        await self._on_disk(source, copying.copy_tree, origin, self.disk(target))

    async def take_snapshot(self, vmid: int, name: str) -> None:
        """Copy the disk, for what a guest writes later must not reach its snapshots."""
        disk, kept = self._prepare_disk(self.disk(vmid)), self._snapshots(vmid) / name
        kept.parent.mkdir(exist_ok=True)
        await self._on_disk(vmid, copying.replace_tree, disk, kept)

    async def roll_back(self, vmid: int, name: str) -> None:
        """Replace the disk by a copy of what the snapshot kept."""
        await self.stop(vmid)
        kept = self._snapshots(vmid) / name
        await self._on_disk(vmid, copying.replace_tree, kept, self.disk(vmid))

    async def delete_snapshot(self, vmid: int, name: str) -> None:
        """Remove what a snapshot kept."""
        await self._on_disk(vmid, removal.remove_tree, self._snapshots(vmid) / name)

    async def usage(self, vmid: int) -> pve.GuestUsage | None:
        """Measure memory, CPU time and disk; the guest has no network to count."""
        guest = self._guests.get(vmid)
        if guest is None:
            return None
        uptime = time.monotonic() - guest.started_at
        tree = await asyncio.to_thread(usage.measure_tree, guest.process.pid)
        before, self._cpu[vmid] = self._cpu.get(vmid, _Cpu()), _Cpu(tree.cpu_seconds, uptime)
        disk_bytes = await asyncio.to_thread(usage.measure_disk, self.disk(vmid))
        return pve.GuestUsage(
            cpu=self._cpu[vmid].share_since(before),
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
        shell = self._options.manners_of(guest.spec.template).shell
        argv = [plans.SHELLS[shell]]
        return await guest.process.open_terminal(
            argv, login=cmode != "shell", columns=_COLUMNS, rows=_ROWS
        )

    async def close(self) -> None:
        """Kill every guest; disks stay."""
        for restart in self._restarts:
            restart.cancel()
        await asyncio.gather(*(self.stop(vmid) for vmid in tuple(self._guests)))

    async def _launch(
        self, spec: pve.GuestSpec, disk: Path, *, isolated: bool
    ) -> process.GuestProcess:
        plan = plans.make_plan(
            self._options, spec, self._ids, isolated=isolated, within=self._within
        )
        launched = process.GuestProcess(plan, disk)
        try:
            await launched.wait_until_running(self._options.start_limit_seconds)
        except BaseException as error:
            await launched.kill()
            if str(error) == wire.NO_SUCH_PROGRAM:
                raise pve.NoSuchProgramError from error
            raise
        return launched

    def _require(self, vmid: int) -> _Guest:
        guest = self._guests.get(vmid)
        if guest is None:
            raise RuntimeError(f"CT {vmid} not running")
        return guest

    def _on_end(self, vmid: int, guest: _Guest, code: int) -> None:
        if self._guests.get(vmid) is guest:
            del self._guests[vmid]
        if code == exits.REBOOT:  # asked for inside; lxc-start starts such a guest again
            task = asyncio.create_task(self._restart(vmid, guest.spec))
            self._restarts.add(task)
            task.add_done_callback(self._restarts.discard)

    async def _restart(self, vmid: int, spec: pve.GuestSpec) -> None:
        await asyncio.sleep(_REBOOT_SECONDS)
        try:
            await self.start(vmid, spec)
        except RuntimeError as error:
            logger.warning("guest_reboot_failed", vmid=vmid, error=str(error))

    async def _on_disk(self, vmid: int, work: Callable[..., None], *paths: Path) -> None:
        """Work on a guest's files in a thread, which ends first even if the task is cancelled."""
        async with self._lock(vmid):
            working = asyncio.ensure_future(asyncio.to_thread(work, *paths))
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError:
                await asyncio.wait([working])
                raise
            except OSError as error:
                raise RuntimeError(str(error)) from error

    def _lock(self, vmid: int) -> asyncio.Lock:
        return self._locks.setdefault(vmid, asyncio.Lock())

    def disk(self, vmid: int) -> Path:
        """Name the directory that is, or would be, the guest's disk."""
        return Path(self._options.disks) / str(vmid)

    def _snapshots(self, vmid: int) -> Path:
        return Path(self._options.disks) / f"{vmid}.snapshots"

    def _prepare_disk(self, disk: Path) -> Path:
        if not disk.exists():
            disk.mkdir(parents=True, mode=0o755)
            if self._ids:
                os.chown(disk, self._ids.first, self._ids.first)
        return disk
