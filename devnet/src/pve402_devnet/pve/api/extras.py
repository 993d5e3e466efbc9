"""Calls at the edge: backups, and running a command where that is provided."""

import shlex

from pve402_devnet.pve import errors, guest_schema, rest, tasks
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Property

_GUEST = "/nodes/{node}/lxc/{vmid}"
_NO_MAIL = "unable to find command 'sendmail'"


async def back_up(call: rest.Call) -> rest.Json:
    """Start `vzdump`, which fails at once: the simulated nodes lack a program that it needs."""
    storage = call.text("storage")
    if storage:
        call.world.storages.require(storage, call.node)
        call.require(f"/storage/{storage}", "Datastore.AllocateSpace")

    async def work(_: tasks.Task) -> None:
        raise errors.Failure(_NO_MAIL)

    return call.world.tasks.fork(call.node, "vzdump", call.text("vmid"), call.user, work)


async def run_command(call: rest.Call) -> rest.Json:
    """Run a command in a running guest as a task whose log is the output."""
    guest = call.guest
    if not await call.world.is_running(guest.vmid):
        raise errors.Failure(f"CT {guest.vmid} not running")
    argv = [call.text("command"), *shlex.split(call.text("params"))]

    async def work(task: tasks.Task) -> None:
        result = await call.world.runtime.exec(guest.vmid, argv)
        task.log(*result.output.splitlines())
        if result.exit_code:
            raise errors.Failure(
                f"command '{shlex.join(argv)}' failed: exit code {result.exit_code}"
            )

    return call.world.tasks.fork(call.node, "vzexec", str(guest.vmid), call.user, work)


ROUTES = (
    rest.Route(
        method="POST",
        path="/nodes/{node}/vzdump",
        handler=back_up,
        permission=rest.any_user,
        parameters={
            "node": guest_schema.NODE,
            "vmid": text(format="pve-vmid-list"),
            "storage": text(format="pve-storage-id"),
            "mode": text(enum=("snapshot", "suspend", "stop")),
            "compress": text(enum=("0", "1", "gzip", "lzo", "zstd")),
            "all": flag(),
            "remove": flag(),
            "protected": Property(type="boolean", optional=True, requires="storage"),
            "bwlimit": number(0),
            "notes-template": Property(optional=True, max_length=1024, requires="storage"),
            "mailto": text(),
            "mailnotification": text(enum=("always", "failure")),
            "notification-mode": text(enum=("auto", "legacy-sendmail", "notification-system")),
            "prune-backups": text(),
            "pool": text(),
            "stop": flag(),
            "quiet": flag(),
            "zstd": number(),
            "ionice": number(0, 8),
        },
        protected=True,
    ),
)

EXEC_ROUTES = (
    rest.Route(
        method="POST",
        path=f"{_GUEST}/exec",
        handler=run_command,
        permission=rest.needs("/vms/{vmid}", "VM.Console"),
        parameters={
            **guest_schema.OF_A_GUEST,
            "command": Property(max_length=8192),
            "params": text(max_length=65536),
        },
        protected=True,
    ),
)
"""Stock Proxmox VE has no such call; hosts that offer one answer like this."""
