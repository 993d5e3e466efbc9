"""Start one guest: drop all rights outside, create the namespaces, and wait for process 1.

Run in a bare interpreter by the runtime, one per guest:
`python -I -S -c BOOT <control descriptor> <source directory>`. Started as root it becomes an
unprivileged user first, and the runtime maps a range of ids for it, as Proxmox does. Started as an
ordinary user it maps that one user to root.
"""

import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from pve402_devnet.guests import children, exits, init, linux, wire

_KILL_SECONDS = 1.0


def main(descriptor: int) -> int:
    """Launch the guest described by the first message; return the exit code of its process 1."""
    control = socket.socket(fileno=descriptor)
    # Held back until there is a process 1 that the signal can be passed on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        plan, _ = wire.receive(control)
        _leave_host(control, plan)
        child = os.fork()
    except wire.WireClosed:
        return exits.FAILED
    except OSError as error:
        wire.send(control, {"event": "failed", "text": f"namespaces: {error.strerror}"})
        return exits.FAILED
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        init.main(control, plan)
    return _wait_for(child, control)


def _leave_host(control: socket.socket, plan: wire.Message) -> None:
    is_mapped_by_runtime = plan["outside_ids"] is not None
    if is_mapped_by_runtime:
        outside_id = plan["outside_ids"][0]
        os.setgroups([])
        os.setresgid(outside_id, outside_id, outside_id)
        os.setresuid(outside_id, outside_id, outside_id)
    if plan["within"] is not None:
        linux.join_user_namespace(plan["within"])
    if plan["root"] is not None:
        _make_namespaces(control, is_mapped_by_runtime=is_mapped_by_runtime)
    linux.adopt_orphans()
    _die_with(plan["runtime_pid"])


def _make_namespaces(control: socket.socket, *, is_mapped_by_runtime: bool) -> None:
    user, group = os.getuid(), os.getgid()
    linux.unshare(linux.ALL_NAMESPACES)
    if is_mapped_by_runtime:
        wire.send(control, {"event": "unshared"})
        wire.receive(control)
    else:
        _map_only(user, group)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _map_only(user: int, group: int) -> None:
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"0 {user} 1")
    (own / "gid_map").write_text(f"0 {group} 1")


def _die_with(runtime_pid: int) -> None:
    # Set last, because every change of credentials resets it.
    linux.set_death_signal(signal.SIGKILL)
    if os.getppid() != runtime_pid:
        raise ProcessLookupError("the runtime has ended")


def _wait_for(child: int, control: socket.socket) -> int:
    def kill(_number: int, _frame: FrameType | None) -> None:
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    control.close()
    _pid, status = os.waitpid(child, 0)
    children.kill_descendants(_KILL_SECONDS)  # for a guest without a PID namespace
    return max(0, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
