"""Figures of the past, and what a node writes down about itself.

Past figures are those of now at every step since the subject is there; before that a point has
nothing but its time. A guest's are kept under its vmid and outlive it, as round-robin files do, so
the next guest with that vmid shows them: nothing was used while those before it ran.
"""

from collections.abc import Mapping
from typing import Any

from pve402_devnet.pve import cluster, errors, figures, guest_schema, rest
from pve402_devnet.pve.api import cluster_wide
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Property

_NODE = {"node": guest_schema.NODE}
#: Seconds of a step, and points (PVE/RRD.pm of Proxmox VE 9; only the hour was recorded).
_FRAMES = {
    "hour": (60, 60),
    "day": (60, 1440),
    "week": (1800, 336),
    "month": (1800, 1440),
    "year": (21600, 1440),
}
_DECADE = (604800, 570)
_ARCHIVES = "/var/lib/rrdcached/db"
_GUEST_RATES = ("netin", "netout", "diskread", "diskwrite")  # bytes a second
_GUEST_FIGURES = ("cpu", "mem", *_GUEST_RATES)
_TIME_FRAME = Property(enum=tuple(_FRAMES))
_HOW = text(enum=("AVERAGE", "MAX"))
_DAY_AND_TIME = text(pattern=r"\d{4}-\d{2}-\d{2}( \d{2}:\d{2}(:\d{2})?)?")


async def of_guest(call: rest.Call) -> rest.Json:
    """Past figures of a vmid; a guest that is down has only its limits."""
    guest, lives = call.world.guests.get(call.vmid), call.world.past_lives.get(call.vmid, ())
    if guest is None and not lives:
        raise errors.Failure(
            "RRD error: rrdcached@unix:/var/run/rrdcached.sock: rrd_fetch_r failed: opening"
            f" '{_ARCHIVES}/pve-vm-9.0/{call.vmid}': No such file or directory"
        )
    limits: dict[str, object] = {}
    alive: dict[str, object] = {}
    created_at = started_at = float("inf")
    if guest is not None:
        limits, alive = await _figures_of(call.world, guest)
        created_at, started_at = guest.created_at, guest.started_at or started_at

    def known(when: int) -> dict[str, object]:
        if when >= started_at:
            return alive
        if any(began <= when <= ended for began, ended in lives):
            return {**limits, **dict.fromkeys(_GUEST_FIGURES, 0)}
        return limits if when + _frame(call)[0] > created_at else {}

    return [{"time": when, **known(when)} for when in _times(call)]


async def _figures_of(
    world: cluster.Cluster, guest: cluster.Guest
) -> tuple[dict[str, object], dict[str, object]]:
    """The limits of a guest, and with them what it uses now."""
    shown: dict[str, Any] = await figures.status_of(world, guest)
    limits = {key: shown[key] for key in ("maxmem", "maxdisk", "disk")} | {"maxcpu": shown["cpus"]}
    rates = {name: shown[name] / max(shown["uptime"], 1) for name in _GUEST_RATES}
    return limits, {**limits, "cpu": shown["cpu"], "mem": shown["mem"], **rates}


async def of_node(call: rest.Call) -> rest.Json:
    """Past figures of a node."""
    node = call.world.nodes[call.node]
    used = node.memory_bytes // 27
    known = {
        **dict.fromkeys(("netin", "netout", "swapused", "swaptotal", "iowait", "arcsize"), 0),
        **{f"pressure{what}": None for what in ("cpusome", "iosome", "iofull")},
        **{f"pressurememory{who}": None for who in ("some", "full")},
        "cpu": 0.007,
        "maxcpu": node.cpus,
        "loadavg": 0.06,
        "memtotal": node.memory_bytes,
        "memused": used,
        "memavailable": node.memory_bytes - used,
        "roottotal": cluster_wide.DISK_BYTES,
        "rootused": cluster_wide.DISK_USED_BYTES,
    }
    return _since_start(call, known)


async def of_storage(call: rest.Call) -> rest.Json:
    """Past figures of a storage."""
    found = call.world.storages.require(call.text("storage"), call.node)
    return _since_start(call, {"total": found.options.total_bytes, "used": found.used_bytes})


async def traffic(call: rest.Call) -> rest.Json:
    """Bytes of every card of the running guests of a node, as text."""
    rows = []
    for guest in call.world.guests.values():
        if guest.node == call.node and await call.world.is_running(guest.vmid):
            shown = await figures.status_of(call.world, guest)
            counts = {"in": str(shown["netin"]), "out": str(shown["netout"])}
            cards = guest.config.networks()
            rows += [{"vmid": str(guest.vmid), "dev": name, **counts} for name in cards]
    return rows


async def log(call: rest.Call) -> rest.Json:
    """What the cluster's daemons wrote: starts and ends of tasks, the newest first."""
    lines: list[dict[str, object]] = []
    auditor = call.may("/", "Sys.Syslog")
    for task in call.world.tasks:
        name, user = str(task.upid), task.upid.user
        if not auditor and user != call.user:
            continue
        common = {"node": task.upid.node, "user": user, "pri": 6, "tag": "pvedaemon"}
        lines.append({**common, "msg": f"starting task {name}", "time": task.upid.start})
        if task.ended_at is not None:
            ended = f"end task {name} {task.exit_status}"
            lines.append({**common, "msg": ended, "time": int(task.ended_at)})
    numbered = [
        {**line, "uid": str(number_), "id": f"{number_}:{line['node']}", "pid": _DAEMON_PID}
        for number_, line in enumerate(lines, start=1)
    ]
    return numbered[::-1][: call.integer("max", len(numbered))]


async def nothing(call: rest.Call) -> rest.Json:
    """An empty list: the simulator has none of these."""
    return []


async def no_metrics(call: rest.Call) -> rest.Json:
    """Figures for another system to collect: none are kept."""
    return {"data": []}


async def subscription(call: rest.Call) -> rest.Json:
    """That nobody pays for this node."""
    return {
        "status": "notfound",
        "message": "There is no subscription key",
        "serverid": None,
        "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing",
    }


def _since_start(call: rest.Call, known: Mapping[str, object]) -> list[dict[str, object]]:
    started_at = call.world.started_at
    return [{"time": when, **(known if when >= started_at else {})} for when in _times(call)]


def _frame(call: rest.Call) -> tuple[int, int]:
    return _FRAMES.get(call.text("timeframe"), _DECADE)


def _times(call: rest.Call) -> list[int]:
    """The ends of the steps, the last of which is over."""
    step, points = _frame(call)
    last = int(call.world.clock.now()) // step * step
    return [last - n * step for n in reversed(range(points))]


def _route(
    path: str, handler: rest.Handler, permission: rest.Permission, /, **parameters: Property
) -> rest.Route:
    return rest.Route(
        method="GET", path=path, handler=handler, permission=permission, parameters=parameters
    )


_DAEMON_PID = 14386
_AUDITS_NODE = rest.needs("/nodes/{node}", "Sys.Audit")
_READS_LOG = rest.needs("/nodes/{node}", "Sys.Syslog")
_AUDITS = rest.needs("/", "Sys.Audit")

ROUTES = (
    rest.Route(
        method="GET",
        path="/nodes/{node}/lxc/{vmid}/rrddata",
        handler=of_guest,
        permission=rest.needs("/vms/{vmid}", "VM.Audit"),
        parameters={**guest_schema.OF_A_GUEST, "timeframe": _TIME_FRAME, "cf": _HOW},
        protected=True,
    ),
    _route(
        "/nodes/{node}/rrddata",
        of_node,
        _AUDITS_NODE,
        **_NODE,
        timeframe=Property(enum=(*_FRAMES, "decade")),
        cf=_HOW,
    ),
    _route(
        "/nodes/{node}/storage/{storage}/rrddata",
        of_storage,
        rest.needs_any("/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace"),
        **_NODE,
        storage=Property(format="pve-storage-id"),
        timeframe=_TIME_FRAME,
        cf=_HOW,
    ),
    _route("/nodes/{node}/netstat", traffic, _AUDITS_NODE, **_NODE),
    _route(
        "/nodes/{node}/syslog",
        nothing,
        _READS_LOG,
        **_NODE,
        start=number(0),
        limit=number(0),
        since=_DAY_AND_TIME,
        until=_DAY_AND_TIME,
        service=text(max_length=128),
    ),
    _route(
        "/nodes/{node}/journal",
        nothing,
        _READS_LOG,
        **_NODE,
        since=number(0),
        until=number(0),
        lastentries=number(0),
        startcursor=text(),
        endcursor=text(),
        identifiers=flag(),
        kernel=flag(),
        priority=text(pattern=r"([0-7](\.\.[0-7])?)?"),
        service=text(pattern=r"[A-Za-z0-9_.@:*?!\[\]\/-]+", max_length=128),
        structured=flag(),
        unit=text(pattern=r"[A-Za-z0-9_.@:-]+", max_length=256),
        units=flag(),
    ),
    _route("/nodes/{node}/services", nothing, _AUDITS_NODE, **_NODE),
    _route("/nodes/{node}/aplinfo", nothing, rest.any_user, **_NODE),
    _route("/nodes/{node}/subscription", subscription, rest.any_user, **_NODE),
    _route("/cluster/log", log, rest.any_user, max=number(1)),
    _route(
        "/cluster/metrics/export",
        no_metrics,
        _AUDITS,
        history=flag(),
        **{"local-only": flag(), "node-list": text(), "start-time": number()},
    ),
    _route("/cluster/metrics/server", nothing, _AUDITS),
)
