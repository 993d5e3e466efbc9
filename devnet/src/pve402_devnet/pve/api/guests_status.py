"""`/nodes/{node}/lxc/{vmid}/status/...`, deletion, and the lists of containers."""

from pve402_devnet.pve import errors, figures, guest_schema, lifecycle, rest, schema, tasks
from pve402_devnet.pve.guest_schema import flag

_GUEST = "/nodes/{node}/lxc/{vmid}"
_DUMPS = "-D /var/lib/vz/dump"
_NO_CRIU = {"vzsuspend": "No such file or directory", "vzresume": "Connection refused"}


async def list_guests(call: rest.Call) -> rest.Json:
    """The guests on a node that the caller may see."""
    world, node = call.world, call.node
    return [
        await figures.status_of(world, guest)
        for guest in list(world.guests.values())
        if guest.node == node and call.may(f"/vms/{guest.vmid}", "VM.Audit")
    ]


async def index(call: rest.Call) -> rest.Json:
    """The entries of a guest."""
    call.world.guest(call.vmid, call.node)
    names = (
        "config pending status vncproxy termproxy vncwebsocket spiceproxy migrate clone rrd"
        " rrddata firewall snapshot resize interfaces"
    )
    return [{"subdir": name} for name in names.split()]


async def status_index(call: rest.Call) -> rest.Json:
    """The entries of a guest's status."""
    call.world.guest(call.vmid, call.node)
    names = "current start stop shutdown reboot migrate"
    return [{"subdir": name} for name in names.split()]


async def current(call: rest.Call) -> rest.Json:
    """The status of one guest."""
    shown = await figures.status_of(call.world, call.guest)
    return {**shown, "ha": {"managed": 0}}


async def start(call: rest.Call) -> rest.Json:
    """Start a guest. If the vmid does not exist, only the task fails."""
    _refuse_skiplock(call)
    if await call.world.is_running(call.vmid):
        raise errors.Failure(f"CT {call.vmid} already running")
    call.world.require_quorum()
    world, node, vmid = call.world, call.node, call.vmid
    skip = call.flag("skiplock")
    return _fork(call, "vzstart", lambda _: lifecycle.start(world, node, vmid, skip_lock=skip))


async def stop(call: rest.Call) -> rest.Json:
    """Kill a guest, after ending its shutdown tasks if requested."""
    _refuse_skiplock(call)
    await _require_running(call)
    world, node, vmid = call.world, call.node, call.vmid
    skip = call.flag("skiplock")

    async def work(task: tasks.Task) -> None:
        if call.flag("overrule-shutdown"):
            await _overrule_shutdowns(call, task)
        await lifecycle.stop(world, node, vmid, skip_lock=skip)

    return _fork(call, "vzstop", work)


async def shutdown(call: rest.Call) -> rest.Json:
    """Ask a guest to shut down."""
    await _require_running(call)
    world, node, vmid = call.world, call.node, call.vmid

    async def work(task: tasks.Task) -> None:
        await lifecycle.shutdown(
            world,
            node,
            vmid,
            timeout_seconds=call.integer("timeout", 60),
            force=call.flag("forceStop"),
            task=task,
        )

    return _fork(call, "vzshutdown", work)


async def reboot(call: rest.Call) -> rest.Json:
    """Shut down and start again."""
    await _require_running(call, kind="VM")
    world, node, vmid = call.world, call.node, call.vmid
    limit = call.integer("timeout", 60) if "timeout" in call.params else None
    return _fork(call, "vzreboot", lambda task: lifecycle.reboot(world, node, vmid, limit, task))


async def suspend(call: rest.Call) -> rest.Json:
    """Suspend a guest; needs CRIU, which no node has."""
    await _require_running(call)
    command = f"lxc-checkpoint -n {call.vmid} -s {_DUMPS}"
    return _fork_checkpoint(call, "vzsuspend", command, "checkpoint: 182 Checkpointing")


async def resume(call: rest.Call) -> rest.Json:
    """Resume a suspended guest; needs CRIU too."""
    if await call.world.is_running(call.vmid):
        raise errors.Failure(f"CT {call.vmid} already running")
    command = f"lxc-checkpoint -n {call.vmid} -r --foreground {_DUMPS}"
    return _fork_checkpoint(call, "vzresume", command, "restore_finalize: 203 Restoring")


async def destroy(call: rest.Call) -> rest.Json:
    """Remove a guest with its disks."""
    guest = call.guest
    lifecycle.require_destroyable(guest)
    world, node, vmid, force = call.world, call.node, call.vmid, call.flag("force")
    if not force and await world.is_running(vmid):
        raise errors.Failure(f"unable to destroy CT {vmid} - container is running")

    async def work(task: tasks.Task) -> None:
        await lifecycle.destroy(world, node, vmid, force=force, purge=call.flag("purge"), task=task)

    return _fork(call, "vzdestroy", work)


async def interfaces(call: rest.Call) -> rest.Json:
    """The addresses of a running guest; null for any other."""
    guest = call.world.guests.get(call.vmid)
    if guest is None or not await call.world.is_running(call.vmid):
        return None
    return figures.interfaces_of(call.world, guest)


def _fork(call: rest.Call, kind: str, work: tasks.Work) -> str:
    return call.world.tasks.fork(call.node, kind, str(call.vmid), call.user, work)


def _fork_checkpoint(call: rest.Call, kind: str, command: str, step: str) -> str:
    prefix = f"lxc-checkpoint: {call.vmid}: ../src/lxc/"

    async def work(task: tasks.Task) -> None:
        task.log(
            f"{prefix}criu.c: criu_version_ok: 767 {_NO_CRIU[kind]} - execing criu failed,"
            " is it installed?"
        )
        task.log(f"{prefix}tools/lxc_checkpoint.c: {step} {call.vmid} failed")
        raise errors.Failure(f"command '{command}' failed: exit code 1")

    return _fork(call, kind, work)


def _refuse_skiplock(call: rest.Call) -> None:
    if call.flag("skiplock") and not call.is_root:
        raise errors.ParameterErrors({"skiplock": "Only root may use this option."})


async def _require_running(call: rest.Call, kind: str = "CT") -> None:
    if not await call.world.is_running(call.vmid):
        raise errors.Failure(f"{kind} {call.vmid} not running")


async def _overrule_shutdowns(call: rest.Call, task: tasks.Task) -> None:
    may_all = call.may(f"/nodes/{call.node}", "Sys.Modify")
    overruled = []
    for other in call.world.tasks.running("vzshutdown", str(call.vmid)):
        owner, token = other.upid.user_and_token
        if may_all or call.user in (owner, other.upid.user if token else owner):
            await call.world.tasks.interrupt(other)
            overruled.append(str(other.upid))
    if overruled:
        task.log(f"overruled vzshutdown tasks: {', '.join(overruled)}")


def _power(name: str, handler: rest.Handler, **parameters: schema.Property) -> rest.Route:
    return rest.Route(
        method="POST",
        path=f"{_GUEST}/status/{name}",
        handler=handler,
        permission=rest.needs("/vms/{vmid}", "VM.PowerMgmt"),
        parameters={**guest_schema.OF_A_GUEST, **parameters},
        protected=True,
    )


def _read(path: str, handler: rest.Handler, *, protected: bool = True) -> rest.Route:
    return rest.Route(
        method="GET",
        path=_GUEST + path,
        handler=handler,
        permission=rest.needs("/vms/{vmid}", "VM.Audit"),
        parameters=guest_schema.OF_A_GUEST,
        protected=protected,
    )


def _open(path: str, handler: rest.Handler) -> rest.Route:
    return rest.Route(
        method="GET",
        path=_GUEST + path,
        handler=handler,
        permission=rest.any_user,
        parameters=guest_schema.OF_A_GUEST,
    )


_TIMEOUT = guest_schema.number(0)

ROUTES = (
    rest.Route(
        method="GET",
        path="/nodes/{node}/lxc",
        handler=list_guests,
        permission=rest.any_user,
        parameters={"node": guest_schema.NODE},
        protected=True,
    ),
    _open("", index),
    _open("/status", status_index),
    _read("/status/current", current),
    _read("/interfaces", interfaces),
    _power("start", start, skiplock=flag(), debug=flag()),
    rest.Route(
        method="POST",
        path=f"{_GUEST}/status/stop",
        handler=stop,
        permission=rest.needs("/vms/{vmid}", "VM.PowerMgmt"),
        parameters={**guest_schema.OF_A_GUEST, "skiplock": flag(), "overrule-shutdown": flag()},
        protected=True,
    ),
    _power("shutdown", shutdown, timeout=_TIMEOUT, forceStop=flag()),
    _power("reboot", reboot, timeout=_TIMEOUT),
    _power("suspend", suspend),
    _power("resume", resume),
    rest.Route(
        method="DELETE",
        path=_GUEST,
        handler=destroy,
        permission=rest.needs("/vms/{vmid}", "VM.Allocate"),
        parameters={
            **guest_schema.OF_A_GUEST,
            "force": flag(),
            "purge": flag(),
            "destroy-unreferenced-disks": flag(),
        },
        protected=True,
    ),
)
