"""`POST /nodes/{node}/lxc`: the checks before a guest is created, in Proxmox's order."""

import re

from pve402_devnet.pve import (
    changes,
    config,
    creation,
    errors,
    guest_rights,
    guest_schema,
    public_keys,
    rest,
    schema,
    storage,
)

_NOT_CONFIGURATION = frozenset(guest_schema.CREATE) - frozenset(guest_schema.OPTIONS)
_DEFAULT_ROOT_GB = 4


async def create(call: rest.Call) -> rest.Json:
    """Check the request, reserve the vmid, and leave the work to a `vzcreate` task."""
    world = call.world
    world.require_quorum()
    _require_rights_to_kind(call)
    world.require_unused(call.vmid)
    public_keys.require_valid(call.text("ssh-public-keys"))
    pool = call.text("pool") or None
    _require_allocation(call, pool)
    wanted = {n: v for n, v in call.params.items() if n not in _NOT_CONFIGURATION}
    wanted.pop("unprivileged", None)
    guest_rights.require_changes(
        call, vmid=call.vmid, pool=pool, old={}, new=wanted, unprivileged=_unprivileged(call)
    )
    _require_archive(call)
    volumes = _choose_volumes(call, wanted)
    plan = _plan(call, wanted, volumes, pool)
    await world.clock.sleep(world.latencies.call)
    await creation.reserve(world, plan)
    return world.tasks.fork(
        call.node,
        "vzcreate",
        str(call.vmid),
        call.user,
        lambda task: creation.create(world, plan, task),
    )


def _unprivileged(call: rest.Call) -> bool:
    default = 0 if call.world.options.privileged_by_default else 1
    return bool(call.params.get("unprivileged", default))


def _require_rights_to_kind(call: rest.Call) -> None:
    if not call.flag("restore") and not _unprivileged(call):
        call.require("/", "Sys.Modify")
    if call.flag("ha-managed"):
        call.require("/", "Sys.Console")


def _require_allocation(call: rest.Call, pool: str | None) -> None:
    if pool is not None:
        call.world.access.require_pool(pool)
    allowed = call.may(f"/vms/{call.vmid}", "VM.Allocate")
    if not allowed and not (pool and call.may(f"/pool/{pool}", "VM.Allocate")):
        raise errors.PermissionDenied


def _require_archive(call: rest.Call) -> None:
    archive = call.text("ostemplate")
    if archive == "-":
        raise errors.Failure("pipe requires cli environment")
    content = "backup" if call.flag("restore") else "vztmpl"
    guest_rights.require_volume(call, archive, content)
    if content == "backup":
        raise errors.Failure(f"unable to restore CT {call.vmid} - no such volume '{archive}'")


def _choose_volumes(call: rest.Call, wanted: schema.Clean) -> dict[str, str]:
    """Separate the volumes from the options and check their storages."""
    default = call.text("storage", "local")
    names = [name for name in guest_schema.VOLUME_KEYS if name in wanted]
    volumes = {name: str(wanted.pop(name)) for name in names}
    for name in [n for n in wanted if re.fullmatch(r"unused\d+", n)]:
        wanted.pop(name)
    for name, value in volumes.items():
        if re.fullmatch(r"\d+(\.\d+)?", value):
            volumes[name] = f"{default}:{value}"
    if volumes and "rootfs" not in volumes:
        raise errors.Failure("mount points configured, but 'rootfs' not set - aborting")
    for name, value in volumes.items():
        _require_volume_storage(call, name, value)
    if not volumes:
        _require_storage(call, default)
        volumes["rootfs"] = f"{default}:{_DEFAULT_ROOT_GB}"
    return volumes


def _require_volume_storage(call: rest.Call, name: str, value: str) -> None:
    volume = config.parse_volume(name, value)["volume"]
    parts = storage.split_volume_id(volume)
    if volume.startswith("/") or parts is None:
        if not call.is_root:
            raise errors.Failure("Only root can pass arbitrary filesystem paths.")
        return
    _require_storage(call, parts[0])


def _require_storage(call: rest.Call, name: str) -> None:
    found = call.world.storages.require(name, call.node)
    if "rootdir" not in found.options.content:
        raise errors.ParameterErrors(
            {"storage": f"storage '{name}' does not support container directories"}
        )
    call.require(f"/storage/{name}", "Datastore.AllocateSpace")


def _plan(
    call: rest.Call, wanted: schema.Clean, volumes: dict[str, str], pool: str | None
) -> creation.Plan:
    return creation.Plan(
        vmid=call.vmid,
        node=call.node,
        user=call.user,
        archive=call.text("ostemplate"),
        volumes=volumes,
        config=_first_configuration(call, wanted),
        start=call.flag("start"),
        pool=pool,
        ssh_public_keys=call.text("ssh-public-keys"),
        password=call.text("password"),
    )


def _first_configuration(call: rest.Call, wanted: schema.Clean) -> config.GuestConfig:
    new = config.GuestConfig()
    for name in sorted(wanted):
        new.put(name, changes.first_value(call.world, call.node, name, wanted[name]))
    if _unprivileged(call):
        new.options["unprivileged"] = 1
    return new


ROUTES = (
    rest.Route(
        method="POST",
        path="/nodes/{node}/lxc",
        handler=create,
        permission=rest.any_user,
        parameters=guest_schema.CREATE,
        protected=True,
    ),
)
