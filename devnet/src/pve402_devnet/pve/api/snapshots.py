"""`/nodes/{node}/lxc/{vmid}/snapshot`."""

from pve402_devnet.pve import config, disks, errors, guest_schema, lifecycle, rest, storage, tasks
from pve402_devnet.pve.api import guests_config
from pve402_devnet.pve.guest_schema import SNAPSHOT_NAME, flag, text
from pve402_devnet.pve.schema import Property

_PATH = "/nodes/{node}/lxc/{vmid}/snapshot"
_RESERVED = ("current", "vzdump")


async def list_snapshots(call: rest.Call) -> rest.Json:
    """The snapshots, and at the end the current guest."""
    conf = call.guest.config
    rows: list[dict[str, object]] = [
        {
            "name": name,
            "snaptime": section.get("snaptime", 0),
            "description": section.get("description", ""),
            **({"parent": section["parent"]} if "parent" in section else {}),
        }
        for name, section in conf.snapshots.items()
    ]
    current: dict[str, object] = {
        "name": "current",
        "digest": conf.digest,
        "running": int(await call.world.is_running(call.vmid)),
        "description": "You are here!",
    }
    if "parent" in conf.options:
        current["parent"] = conf.options["parent"]
    return [*rows, current]


async def index(call: rest.Call) -> rest.Json:
    """The entries of a snapshot."""
    return [{"cmd": "rollback"}, {"cmd": "config"}]


async def create(call: rest.Call) -> rest.Json:
    """Take a snapshot; one that fails or is interrupted leaves nothing."""
    name = call.text("snapname")
    if name in _RESERVED:
        raise errors.Failure(f"unable to use snapshot name '{name}' (reserved name)")

    async def work(_: tasks.Task) -> None:
        async with call.world.locks.hold(call.vmid):
            section = _prepare(call, name)
        try:
            await call.world.runtime.take_snapshot(call.vmid, name)
            await call.world.clock.sleep(call.world.latencies.snapshot)
        except BaseException:
            await call.world.runtime.delete_snapshot(call.vmid, name)
            raise
        finally:
            call.guest.config.options.pop("lock", None)
        async with call.world.locks.hold(call.vmid):
            conf = call.guest.config
            conf.snapshots[name] = section
            conf.options["parent"] = name

    return _fork(call, "vzsnapshot", work)


async def delete(call: rest.Call) -> rest.Json:
    """Remove a snapshot."""

    async def work(_: tasks.Task) -> None:
        async with call.world.locks.hold(call.vmid):
            conf = call.guest.config
            gone = guests_config.snapshot_of(conf, call.text("snapname"))
            conf.require_unlocked()
            await call.world.runtime.delete_snapshot(call.vmid, call.text("snapname"))
            del conf.snapshots[call.text("snapname")]
            if conf.options.get("parent") == call.text("snapname"):
                conf.options.pop("parent")
                conf.options.update({k: v for k, v in gone.items() if k == "parent"})

    return _fork(call, "vzdelsnapshot", work)


async def rollback(call: rest.Call) -> rest.Json:
    """Return to a snapshot, stopping a running guest first. Starting it is another task.

    A worker that fails or is killed in between leaves the lock (PVE/AbstractConfig.pm).
    """

    async def work(_: tasks.Task) -> None:
        async with call.world.locks.hold(call.vmid):
            await _stop_and_lock(call)
        await call.world.runtime.roll_back(call.vmid, call.text("snapname"))
        await call.world.clock.sleep(call.world.latencies.rollback)
        async with call.world.locks.hold(call.vmid):
            _go_back(call)
        if call.flag("start"):
            _fork(call, "vzstart", lambda _: lifecycle.start(call.world, call.node, call.vmid))

    return _fork(call, "vzrollback", work)


async def read_config(call: rest.Call) -> rest.Json:
    """The configuration stored in a snapshot."""
    return dict(guests_config.snapshot_of(call.guest.config, call.text("snapname")))


async def update_config(call: rest.Call) -> rest.Json:
    """Change a snapshot's description."""
    async with call.world.locks.hold(call.vmid):
        conf = call.guest.config
        conf.require_unlocked()
        section = guests_config.snapshot_of(conf, call.text("snapname"))
        if "description" in call.params:
            _describe(section, call.text("description"))
    return None


def _prepare(call: rest.Call, name: str) -> config.Section:
    """Check and lock the guest, and return the snapshot's content."""
    guest = call.guest
    conf = guest.config
    if conf.options.get("template"):
        raise errors.Failure("you can't take a snapshot if it's a template")
    conf.require_unlocked()
    if name in conf.snapshots:
        raise errors.Failure(f"snapshot name '{name}' already used")
    if not disks.can_snapshot(call.world, guest):
        raise errors.Failure("snapshot feature is not available")
    section = {**conf.options, "snaptime": int(call.world.clock.now())}
    _describe(section, call.text("description"))
    conf.options["lock"] = "snapshot"
    return section


def _describe(section: config.Section, text: str) -> None:
    """A snapshot has its own description, or none."""
    stored = config.as_stored("description", text)
    section.pop("description", None)
    if stored is not None:
        section["description"] = stored


async def _stop_and_lock(call: rest.Call) -> None:
    guest = call.guest
    guests_config.snapshot_of(guest.config, call.text("snapname"))
    guest.config.require_unlocked()
    if await call.world.is_running(call.vmid):
        await call.world.runtime.stop(call.vmid)
        call.world.mark_stopped(guest)
    guest.config.put("lock", "rollback")


def _go_back(call: rest.Call) -> None:
    guest, name = call.guest, call.text("snapname")
    section = guests_config.snapshot_of(guest.config, name)
    held = {k: v for k, v in section.items() if k not in ("snaptime", "description")}
    described = {k: v for k, v in guest.config.options.items() if k == "description"}
    guest.config.options = {**held, **described, "parent": name}
    for volume in guest.config.volumes().values():
        found = call.world.storages.volume(volume["volume"])
        if found is not None:
            found[1].size_bytes = storage.size_of(volume.get("size", "0"))


def _fork(call: rest.Call, kind: str, work: tasks.Work) -> str:
    return call.world.tasks.fork(call.node, kind, str(call.vmid), call.user, work)


def _route(
    method: str,
    path: str,
    handler: rest.Handler,
    *privileges: str,
    **parameters: Property,
) -> rest.Route:
    return rest.Route(
        method=method,
        path=_PATH + path,
        handler=handler,
        permission=rest.needs_any("/vms/{vmid}", *privileges),
        parameters={**guest_schema.OF_A_GUEST, **parameters},
        protected=True,
    )


_READERS = ("VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit")

ROUTES = (
    _route("GET", "", list_snapshots, "VM.Audit"),
    _route("POST", "", create, "VM.Snapshot", snapname=SNAPSHOT_NAME, description=text()),
    rest.Route(
        method="GET",
        path=f"{_PATH}/{{snapname}}",
        handler=index,
        permission=rest.any_user,
        parameters={**guest_schema.OF_A_GUEST, "snapname": SNAPSHOT_NAME},
    ),
    _route("DELETE", "/{snapname}", delete, "VM.Snapshot", snapname=SNAPSHOT_NAME, force=flag()),
    _route(
        "POST",
        "/{snapname}/rollback",
        rollback,
        "VM.Snapshot",
        "VM.Snapshot.Rollback",
        snapname=SNAPSHOT_NAME,
        start=flag(),
    ),
    _route("GET", "/{snapname}/config", read_config, *_READERS, snapname=SNAPSHOT_NAME),
    _route(
        "PUT",
        "/{snapname}/config",
        update_config,
        "VM.Snapshot",
        snapname=SNAPSHOT_NAME,
        description=text(),
    ),
)
