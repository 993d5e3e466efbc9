"""Process 1 of a guest: reaps, opens terminals, runs commands, and ends the guest when asked.

Its orders come over the control socket (see `wire`); when the socket closes, which happens however
the runtime dies, the guest ends. Signals from inside are those of a container's init: SIGPWR and
SIGUSR1/SIGUSR2 (halt, poweroff) shut down, SIGTERM and SIGINT reboot.
"""

import contextlib
import os
import resource
import select
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from pve402_devnet.guests import children, exits, linux, rootfs, wire

_SHUTDOWN_SIGNALS = (signal.SIGPWR, signal.SIGUSR1, signal.SIGUSR2)
_REBOOT_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_ENDED = -1
_COLUMNS, _ROWS = 80, 25
_TERMINATE_SECONDS = 1.0
_KILL_SECONDS = 1.0


def main(control: socket.socket, plan: wire.Message) -> NoReturn:
    """Become process 1; never returns."""
    code = exits.FAILED
    try:
        _prepare(plan)
        limits = {getattr(resource, name): value for name, value in plan["limits"].items()}
        init = Init(control=control, limits=limits, obeys_shutdown=plan["obeys_shutdown"])
        if plan["entrypoint"]:
            init.start(plan["entrypoint"], plan["environment"])
        wire.send(control, {"event": "running"})
        code = init.run()
    except wire.WireClosed:
        code = exits.HALTED
    except _NoSuchProgramError:
        wire.send(control, {"event": "failed", "text": wire.NO_SUCH_PROGRAM})
    except BaseException:  # noqa: BLE001 - process 1 has nobody to raise to, and must not unwind
        _report(control)
    finally:
        children.kill_descendants(_KILL_SECONDS)
        os._exit(code)


def _prepare(plan: wire.Message) -> None:
    linux.set_death_signal(signal.SIGKILL)
    linux.adopt_orphans()
    linux.forbid_tracing()
    linux.rename_process("/sbin/init")
    os.setsid()
    os.umask(0o022)  # a container's default, whatever the devnet's own is
    if plan["root"] is None:
        return
    socket.sethostname(plan["root"]["hostname"])
    linux.raise_loopback()
    rootfs.enter(rootfs.RootPlan.from_message(plan["root"]))


def _report(control: socket.socket) -> None:
    with contextlib.suppress(wire.WireClosed):
        wire.send(control, {"event": "failed", "text": traceback.format_exc(limit=-3)[-2000:]})


class _NoSuchProgramError(Exception):
    """The entrypoint is not in the guest."""


@dataclass(kw_only=True)
class Init:
    """The main loop of process 1 and what it knows of its children."""

    control: socket.socket
    limits: children.Limits
    obeys_shutdown: bool = True
    known: set[int] = field(default_factory=set)
    signals: list[int] = field(default_factory=list)
    entrypoint: int | None = None
    console: int | None = None

    def start(self, argv: list[str], environment: dict[str, str]) -> None:
        """Run the guest's own program on a terminal that nobody reads; the guest ends with it."""
        if shutil.which(argv[0], path=environment.get("PATH", os.defpath)) is None:
            raise _NoSuchProgramError
        order = {
            "argv": argv,
            "environment": environment,
            "login": False,
            "columns": _COLUMNS,
            "rows": _ROWS,
        }
        self.entrypoint, self.console = children.open_terminal(order, self.limits)

    def run(self) -> int:
        """Serve until told to end; return the exit code of the guest."""
        wakeup = self._watch_signals()
        while True:
            watched = [self.control.fileno(), wakeup]
            watched += [] if self.console is None else [self.console]
            ready, _, _ = select.select(watched, [], [])
            if self.console is not None and self.console in ready:
                self._drain(self.console)
            if wakeup in ready:
                os.read(wakeup, 4096)
            self._reap()
            if self.control.fileno() in ready:
                self._obey(*wire.receive(self.control))
            if self.entrypoint == _ENDED:
                return self._end(signal.SIGPWR)
            if self.signals and self.obeys_shutdown:
                return self._end(self.signals[0])
            self.signals.clear()

    def _watch_signals(self) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (*_SHUTDOWN_SIGNALS, *_REBOOT_SIGNALS):
            signal.signal(number, lambda number, _frame: self.signals.append(number))
        return reader

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.entrypoint:
                self.entrypoint = _ENDED
            if pid in self.known:
                self.known.discard(pid)
                code = os.waitstatus_to_exitcode(status)
                wire.send(self.control, {"event": "exit", "pid": pid, "code": code})

    def _drain(self, console: int) -> None:
        try:
            if os.read(console, 65536):
                return
        except OSError:  # nobody has the terminal open any more
            pass
        os.close(console)
        self.console = None

    def _obey(self, order: wire.Message, descriptor: int | None) -> None:
        name = order.get("order")
        if name == "shutdown":
            self.signals.append(signal.SIGPWR)
            if self.entrypoint is not None and children.catches(self.entrypoint, signal.SIGTERM):
                os.kill(self.entrypoint, signal.SIGTERM)
        elif name == "terminal":
            self._answer(order, lambda: children.open_terminal(order, self.limits))
        elif name == "run" and descriptor is not None:
            self._answer(order, lambda: (children.run(order, descriptor, self.limits), None))
        if descriptor is not None:
            os.close(descriptor)

    def _answer(self, order: wire.Message, act: Callable[[], tuple[int, int | None]]) -> None:
        try:
            pid, master = act()
        except OSError as error:
            wire.send(self.control, {"reply": order["id"], "error": str(error)})
            return
        self.known.add(pid)
        wire.send(self.control, {"reply": order["id"], "pid": pid}, master)
        if master is not None:
            os.close(master)

    def _end(self, number: int) -> int:
        """Ask every process to end, and give it a moment."""
        for request in (signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
            children.signal_descendants(request)
        deadline = time.monotonic() + _TERMINATE_SECONDS
        while children.are_left() and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.02)
        return exits.REBOOT if number in _REBOOT_SIGNALS else exits.HALTED
