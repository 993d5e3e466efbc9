"""`/nodes/{node}/lxc/{vmid}/migrate`: moving a guest to another node."""

from pve402_devnet.pve import cluster, errors, guest_schema, lifecycle, rest, tasks
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Property

_PATH = "/nodes/{node}/lxc/{vmid}/migrate"
_RUNNING = "can't migrate running container without --online or --restart"
_SHUTDOWN_SECONDS = 180


async def precondition(call: rest.Call) -> rest.Json:
    """Return the nodes that a guest could move to."""
    call.world.require_quorum()
    call.guest.config.require_unlocked()
    return {
        "running": int(await call.world.is_running(call.vmid)),
        "allowed-nodes": [name for name in call.world.nodes if name != call.node],
        "not-allowed-nodes": {},
    }


async def migrate(call: rest.Call) -> rest.Json:
    """Move a guest; a running one is shut down first and started again there."""
    target = call.text("target")
    if target == call.node:
        raise errors.ParameterErrors({"target": "target is local node."})
    call.world.require_quorum()
    if target not in call.world.nodes:
        raise errors.Failure(f"no such cluster node '{target}'")
    world, node, vmid, guest = call.world, call.node, call.vmid, call.guest
    running = await world.is_running(vmid)
    if running and not (call.flag("online") or call.flag("restart")):
        raise errors.Failure(_RUNNING)

    async def work(task: tasks.Task) -> None:
        limit = call.integer("timeout", _SHUTDOWN_SECONDS)
        if running:
            task.log(f"shutdown CT {vmid}")
            await lifecycle.shutdown(
                world, node, vmid, timeout_seconds=limit, force=True, task=task
            )
        await _move(world, guest, target, task)
        if running:
            task.log("start container on target node")
            await lifecycle.start(world, target, vmid)

    return world.tasks.fork(node, "vzmigrate", str(vmid), call.user, work)


async def _move(
    world: cluster.Cluster, guest: cluster.Guest, target: str, task: tasks.Task
) -> None:
    address = world.nodes[target].address
    async with world.locks.hold(guest.vmid):
        guest.config.require_unlocked()
        if target in world.offline:
            raise errors.Failure(f"migration aborted: can't connect to '{address}'")
        guest.config.put("lock", "migrate")
        task.log(f"starting migration of CT {guest.vmid} to node '{target}' ({address})")
        try:
            for volume in guest.config.volumes().values():
                task.log(f"found local volume '{volume['volume']}' (in current VM config)")
                await world.clock.sleep(world.latencies.clone)
        finally:
            guest.config.options.pop("lock", None)
        guest.node = target
        task.log("start final cleanup", "migration finished successfully (duration 00:00:01)")


ROUTES = (
    rest.Route(
        method="GET",
        path=_PATH,
        handler=precondition,
        permission=rest.needs("/vms/{vmid}", "VM.Migrate"),
        parameters={**guest_schema.OF_A_GUEST, "target": text(format="pve-node")},
        protected=True,
    ),
    rest.Route(
        method="POST",
        path=_PATH,
        handler=migrate,
        permission=rest.needs("/vms/{vmid}", "VM.Migrate"),
        parameters={
            **guest_schema.OF_A_GUEST,
            "target": Property(format="pve-node"),
            "target-storage": text(),
            "online": flag(),
            "restart": flag(),
            "timeout": number(),
            "bwlimit": Property(type="number", optional=True, minimum=0),
        },
        protected=True,
    ),
)
