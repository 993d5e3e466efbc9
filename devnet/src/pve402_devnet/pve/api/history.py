"""Figures of the past, and what a node writes down about itself.

Past figures are those of now at every step since the subject is there; before that a point has
nothing but its time.
"""

from collections.abc import Mapping

from pve402_devnet.pve import errors, figures, guest_schema, rest
from pve402_devnet.pve.api import cluster_wide
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Property

_NODE = {"node": guest_schema.NODE}
_POINTS = 60
_STEP_SECONDS = {"hour": 60, "day": 1800, "week": 10800, "month": 43200, "year": 604800}
_DECADE_SECONDS = 604800
_ARCHIVES = "/var/lib/rrdcached/db"
_GUEST_FIGURES = ("cpu", "mem", "netin", "netout", "diskread", "diskwrite")
_TIME_FRAME = Property(enum=tuple(_STEP_SECONDS))
_HOW = text(enum=("AVERAGE", "MAX"))
_DAY_AND_TIME = text(pattern=r"\d{4}-\d{2}-\d{2}( \d{2}:\d{2}(:\d{2})?)?")


async def of_guest(call: rest.Call) -> rest.Json:
    """Past figures of a guest; before its first start only its limits are known."""
    guest = call.world.guests.get(call.vmid)
    if guest is None:
        raise errors.Failure(
            "RRD error: rrdcached@unix:/var/run/rrdcached.sock: rrd_fetch_r failed: opening"
            f" '{_ARCHIVES}/pve-vm-9.0/{call.vmid}': No such file or directory"
        )
    shown = await figures.status_of(call.world, guest)
    limits = {key: shown[key] for key in ("maxmem", "maxdisk", "disk")} | {"maxcpu": shown["cpus"]}
    alive = {**limits, **{name: shown[name] for name in _GUEST_FIGURES}}
    step = _step(call)
    started_at = guest.started_at or float("inf")
    return [
        {
            "time": when,
            **(alive if when >= started_at else limits if when + step > guest.created_at else {}),
        }
        for when in _times(call)
    ]


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


def _step(call: rest.Call) -> int:
    return _STEP_SECONDS.get(call.text("timeframe"), _DECADE_SECONDS)


def _times(call: rest.Call) -> list[int]:
    step = _step(call)
    last = int(call.world.clock.now()) // step * step
    return [last - n * step for n in reversed(range(_POINTS))]


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
        timeframe=Property(enum=(*_STEP_SECONDS, "decade")),
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
