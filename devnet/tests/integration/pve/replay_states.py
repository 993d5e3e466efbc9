"""States the recordings begin in, and what of them cannot be replayed, each with its reason."""

import dataclasses
from collections.abc import Mapping

from devnet.tests.support.pve_replay import Replay, Setup

EXCLUDED: Mapping[str, str] = {
    "http-plain-instead-of-tls": "the server speaks TLS or plain HTTP on a port, never both",
    "start-parallel-2": "failed because a start took 10 s on the recording machine",
    "task-list-start-good-later": "a start still ran after 2.5 s on the recording machine",
}


WITH_REAL_SHELLS = frozenset(
    {
        "task-status-termproxy-bad-auth",
        "task-log-termproxy-bad-auth",
        "task-status-termproxy-exit",
        "task-log-termproxy-exit",
        "task-status-termproxy-ct-stopped",
        "task-status-termproxy-stopped-shell",
        "task-log-termproxy-stopped-shell",
        "task-status-termproxy-stopped-tty",
        "task-log-termproxy-stopped-tty",
        "task-status-vncproxy-closed",
        "task-log-vncproxy-closed",
        "task-status-termproxy-client-close",
        "task-log-termproxy-client-close",
        "task-status-termproxy-reattach",
        "task-status-termproxy-exit-3",
        "task-log-termproxy-exit-3",
    }
)
"""A console session ends in these: test_console_tasks replays them with shells on the ports."""


def passed(seconds: float) -> Setup:
    async def setup(replay: Replay) -> None:
        await replay.tick(seconds)

    return setup


async def _one_more_put(replay: Replay) -> None:
    await replay.start_calling("PUT", "/nodes/pve/lxc/130/config", tags="a")


SENT_BEFORE: Mapping[str, tuple[str | Setup, ...]] = {
    "config-get-while-creating": ("lxc-create-full",),
    "stop-overrule-shutdown": ("shutdown-overruled", passed(1.0), "stop-while-shutdown"),
    "locked-status-current": ("lxc-create-slow",),
    "locked-status-current-late": (
        "locked-start",
        "locked-stop",
        "locked-shutdown",
        "locked-delete",
        "locked-delete-force",
        "locked-snapshot-root",
        "locked-clone-root",
    ),
    "task-stop-noprivs": ("task-stop-create", passed(2.0)),
    "locked-early-start-task-log": (
        "lxc-create-slow-2",
        "locked-early-start",
        "locked-early-stop",
        "locked-early-resize",
        "locked-early-delete",
        "locked-early-delete-force",
        "locked-early-status-current",
    ),
    "starved-version": (
        "lxc-create-slow-3",
        _one_more_put,
        "locked-config-put-parallel-2",
        "locked-config-put-parallel-3",
        "locked-config-put-parallel-4",
        "starved-start-other",
    ),
}
"""Lines that stand behind the first one, for they were written when their answers were complete."""

NOT_WAITED_FOR = (
    "locked-config-put-parallel-2",
    "locked-config-put-parallel-3",
    "locked-config-put-parallel-4",
    "starved-start-other",
)


def _series(prefix: str, *numbers: int) -> dict[str, tuple[str, ...]]:
    names = tuple(f"{prefix}-{n}" for n in numbers)
    return {names[0]: names}


TOGETHER: Mapping[str, tuple[str, ...]] = {
    **_series("lxc-create-parallel", 1, 2, 3, 4, 5, 6),
    **_series("nextid-parallel", 1, 2, 3, 4),
    **_series("lxc-create-parallel-different", 2, 3, 4),
    **_series("delete-parallel", 1, 2, 3),
    **_series("start-parallel", 1, 3),
    **_series("stop-parallel", 1, 2, 3),
}

LOCK_LINES = ("trying to acquire lock...", " OK")
LOCK_LINES_BY_CHANCE = frozenset(
    ["lxc-create-parallel-different-4", "delete-parallel-1", "delete-parallel-2"]
)

_RIG_LINES = (
    "problem with monitor socket",
    'Can\'t exec "fuser"',
    "__cgfsng_delegate_controllers: ",
)

COMPARED_BY_SHAPE = frozenset(["node-status", "rrddata"])

IGNORED_DIFFERENCES: Mapping[str, str] = {
    "resources-after-put-tags": "lxc/106].status",  # the line was recorded before 106 stopped
}
"""A part of the one difference that is accepted, by name."""


def is_ignored(name: str, difference: str) -> bool:
    """Tell whether a difference is accepted: listed above, or the length of a task list."""
    if name.startswith("task-list") and difference.startswith(".total:"):
        return True
    return name in IGNORED_DIFFERENCES and IGNORED_DIFFERENCES[name] in difference


def without_lines_of_the_rig(lines: list[str]) -> list[str]:
    """Leave out what comes from the recording machine's stand-ins for systemd and fuser."""
    kept: list[str] = []
    after_monitor = False
    for line in lines:
        of_the_rig = line.startswith(_RIG_LINES) or (after_monitor and not line)
        after_monitor = line.startswith(_RIG_LINES[0])
        if not of_the_rig:
            kept.append(line)
    return kept


def _created(**params: object) -> Setup:
    async def setup(replay: Replay) -> None:
        await replay.remove(110)
        await replay.create(110, **params)

    return setup


async def _minimal_guest(replay: Replay) -> None:
    await replay.create(
        104, rootfs=None, storage="local", hostname=None, memory=None, cores=None, net0=None
    )


async def _published(replay: Replay) -> None:
    await replay.proxmox.publish()


async def _only_first_five(replay: Replay) -> None:
    await replay.remove(110, *range(120, 125))
    await replay.proxmox.publish()


async def _guest_that_ignores_signals(replay: Replay) -> None:
    await replay.create(106, entrypoint="/bin/sleep 100000", net0=None)


async def _described(replay: Replay) -> None:
    text = "line one\nline two: é % #"
    await replay.call("PUT", "/nodes/pve/lxc/105/config", description=text)


async def _slow_start_of_130(replay: Replay) -> None:
    await replay.remove(103, 104, 130)
    await replay.call("POST", "/nodes/pve/vzdump", "root", vmid=998)
    await replay.proxmox.publish()
    latencies = dataclasses.replace(replay.world.latencies, start=14.0)
    replay.world.latencies = latencies


async def _started_at_last(replay: Replay) -> None:
    while not await replay.world.is_running(130):
        await replay.tick(0.5)
    replay.world.latencies = dataclasses.replace(replay.world.latencies, start=1.4)


async def _failed_create(replay: Replay) -> None:
    upid = await replay.run_task(
        "POST",
        "/nodes/pve/lxc",
        vmid=133,
        ostemplate="local:vztmpl/nosuch_1_amd64.tar.gz",
        rootfs="local:1",
    )
    replay.map_task("UPID:pve:00001135:00095809:6B01E907:vzcreate:133:svc@pve!test:", upid)


async def _destroyed_by_least(replay: Replay) -> None:
    answer = await replay.call("DELETE", "/nodes/pve/lxc/132", "least")
    upid = answer.body["data"]
    replay.map_task("UPID:pve:0000117E:00095899:6B01E908:vzdestroy:132:lp@pve!tt:", upid)


async def _locked_109(replay: Replay) -> None:
    replay.edit(109, features=None, lock="backup")


async def _guest_109(replay: Replay) -> None:
    await replay.remove(109)
    await replay.have(109, running=False, cmode="shell")


async def _unlocked_109(replay: Replay) -> None:
    await replay.remove(130)
    replay.edit(109, lock=None)


async def _vmid_130_free(replay: Replay) -> None:
    await replay.remove(130)


async def _start_task_of_140(replay: Replay) -> None:
    ours = replay.last_task("vzstart", 140)
    replay.map_task("UPID:pve:000013B3:00097861:6B01E95A:vzstart:140:svc@pve!test:", ours)


async def _websocket_left(replay: Replay) -> None:
    replay.close_websockets()
    await replay.settle()


async def _published_130(replay: Replay) -> None:
    await replay.proxmox.publish()


SETUPS: Mapping[str, Setup] = {
    "lxc-create-full": _published,
    "status-current-after-start-1": passed(2.0),
    "config-get-minimal": _minimal_guest,
    "lxc-create-hostname-fqdn-after-config": _created(hostname="a.example.com"),
    "lxc-create-unrecognised-os-template-after-config": _created(
        ostemplate="local:vztmpl/noos_1_amd64.tar.gz"
    ),
    "lxc-create-tags-comma-after-config": _created(tags="one,two"),
    "lxc-create-tags-space-after-config": _created(tags="one two"),
    "lxc-create-nameserver-after-config": _created(
        nameserver="10.99.0.1", searchdomain="example.com"
    ),
    "status-current-stopped": _only_first_five,
    "resources-running-stopped-tags": _published,
    "rrddata": passed(120.0),
    "start-entrypoint": _guest_that_ignores_signals,
    "config-get-after-put": _described,
    "resources-after-put-tags": _published,
    "locked-status-current": _slow_start_of_130,
    "task-example-warnings": _failed_create,
    "task-status-own-least": _destroyed_by_least,
    "task-list": passed(1.0),
    "config-put-protection": _guest_109,
    "config-get-locked": _locked_109,
    "locked-early-start-task-log": _vmid_130_free,
    "task-list-start-bad-bridge": passed(3.0),
    "task-status-start-bad-bridge": _start_task_of_140,
    "vncwebsocket-second-connection": _websocket_left,
    "status-current-at-create-end": passed(1.0),
    "status-current-start-good-later": passed(2.5),
    "starved-version": _unlocked_109,
}

AFTER_THOSE: Mapping[str, Setup] = {
    "config-get-while-creating": _published,
    "locked-status-current-late": _started_at_last,
    "starved-version": _published_130,
}
"""States that come about once the lines sent before have been sent."""
