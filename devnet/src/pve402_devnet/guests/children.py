"""What a guest's process 1 starts: shells on the guest's terminals, and commands on pipes."""

import contextlib
import fcntl
import os
import resource
import signal
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pve402_devnet.guests import login, wire

Limits = dict[int, int]
_TIOCSPTLCK, _TIOCGPTN = 0x4004_5431, 0x8004_5430  # ioctl_tty(2); not in Python's termios
_KEYBOARD_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_NEUTRAL_SIGNALS = (
    *_KEYBOARD_SIGNALS,
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGTERM,
    signal.SIGPWR,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)


def open_terminal(order: wire.Message, limits: Limits) -> tuple[int, int]:
    """Start `argv` on a new terminal of the guest; return its pid and the terminal's master."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        slave = _open_slave(master)
        _set_size(slave, order["columns"], order["rows"])
        pid = _fork(lambda: _become_terminal_program(slave, order, limits))
    except BaseException:
        os.close(master)
        raise
    os.close(slave)
    return pid, master


def run(order: wire.Message, output: int, limits: Limits) -> int:
    """Start `argv` with both output streams on `output` and no input; return its pid."""

    def start() -> None:
        os.setsid()
        _use_as_standard_streams(os.open("/dev/null", os.O_RDONLY), output)
        _execute(order["argv"], order["environment"], limits)

    return _fork(start)


def signal_descendants(number: int) -> None:
    """Signal everything below the caller: the whole namespace where it is process 1."""
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)
        return
    for pid in _descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def catches(pid: int, number: int) -> bool:
    """Whether a program handles a signal; as process 1 of a container it gets no other."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def kill_descendants(limit_seconds: float) -> None:
    """Kill all remaining processes; for process 1 the kernel does that anyway."""
    deadline = time.monotonic() + limit_seconds
    while os.getpid() != 1 and are_left() and time.monotonic() < deadline:
        signal_descendants(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.005)


def are_left() -> bool:
    """Return whether the caller has children, dead or alive."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descendants(pid: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    found = [int(child) for child in listed.split()]
    return found + [deeper for child in found for deeper in _descendants(child)]


def _open_slave(master: int) -> int:
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    number = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, struct.pack("i", 0)))[0]
    return os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def _set_size(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _fork(body: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _run_in_child(body)
    return pid


def _run_in_child(body: Callable[[], Any]) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        for number in _NEUTRAL_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        body()
    except OSError as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(127)


def _become_terminal_program(slave: int, order: wire.Message, limits: Limits) -> None:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    _use_as_standard_streams(slave, slave)
    if order["login"]:
        _serve_logins(order, limits)
    _execute(order["argv"], order["environment"], limits)


def _serve_logins(order: wire.Message, limits: Limits) -> NoReturn:
    """Be a getty: prompt, run the shell as a child, and prompt again after its end."""
    for number in _KEYBOARD_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    while True:
        login.ask()
        shell = _fork(lambda: _execute(order["argv"], order["environment"], limits))
        os.waitpid(shell, 0)
        os.tcsetpgrp(0, os.getpgrp())


def _use_as_standard_streams(source: int, sink: int) -> None:
    os.dup2(source, 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)


def _execute(argv: list[str], environment: dict[str, str], limits: Limits) -> None:
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    try:
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - running programs is what a guest is for
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(126 if isinstance(error, PermissionError) else 127)
