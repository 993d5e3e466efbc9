"""Calls at the edge: backups, the guest firewall, and running a command where it is provided."""

import shlex

from pve402_devnet.pve import errors, guest_schema, rest, tasks
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Property

_GUEST = "/nodes/{node}/lxc/{vmid}"
_NO_MAIL = "unable to find command 'sendmail'"
_LOG_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog")
_FIREWALL_DEFAULTS = {"enable": 0, "policy_in": "DROP", "policy_out": "ACCEPT"}


async def back_up(call: rest.Call) -> rest.Json:
    """Start `vzdump`, which ends at once: the simulated nodes lack the program it needs."""
    storage = call.text("storage")
    if storage:
        call.world.storages.require(storage, call.node)
        call.require(f"/storage/{storage}", "Datastore.AllocateSpace")

    async def work(_: tasks.Task) -> None:
        raise errors.Failure(_NO_MAIL)

    return call.world.tasks.fork(call.node, "vzdump", call.text("vmid"), call.user, work)


async def firewall_index(call: rest.Call) -> rest.Json:
    """What lies under a guest's firewall."""
    names = ("rules", "aliases", "ipset", "refs", "options", "log")
    return [{"name": name} for name in names]


async def firewall_options(call: rest.Call) -> rest.Json:
    """The settings of a guest's firewall."""
    return dict(call.world.firewalls.get(call.guest.vmid, {}))


async def set_firewall_options(call: rest.Call) -> rest.Json:
    """Change settings of a guest's firewall."""
    settings = call.world.firewalls.setdefault(call.guest.vmid, {})
    for name in (*_FIREWALL_DEFAULTS, "dhcp", "ndp", "macfilter", "ipfilter", "radv"):
        if name in call.params:
            settings[name] = call.params[name]
    for name in call.text("delete").split(","):
        settings.pop(name, None)
    return None


async def firewall_rules(call: rest.Call) -> rest.Json:
    """The rules of a guest's firewall: none can be made here."""
    call.world.guest(call.vmid, call.node)
    return []


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


def _firewall(method: str, path: str, handler: rest.Handler, privilege: str) -> rest.Route:
    settings = {
        "enable": flag(),
        "dhcp": flag(),
        "ndp": flag(),
        "radv": flag(),
        "macfilter": flag(),
        "ipfilter": flag(),
        "log_level_in": text(enum=_LOG_LEVELS),
        "log_level_out": text(enum=_LOG_LEVELS),
        "policy_in": text(enum=("ACCEPT", "REJECT", "DROP")),
        "policy_out": text(enum=("ACCEPT", "REJECT", "DROP")),
        "delete": text(format="pve-configid-list"),
        "digest": text(max_length=64),
    }
    return rest.Route(
        method=method,
        path=f"{_GUEST}/firewall{path}",
        handler=handler,
        permission=rest.needs("/vms/{vmid}", privilege),
        parameters={**guest_schema.OF_A_GUEST, **(settings if method == "PUT" else {})},
        protected=method == "PUT",
    )


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
    _firewall("GET", "", firewall_index, "VM.Audit"),
    _firewall("GET", "/options", firewall_options, "VM.Audit"),
    _firewall("PUT", "/options", set_firewall_options, "VM.Config.Network"),
    _firewall("GET", "/rules", firewall_rules, "VM.Audit"),
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
"""Stock Proxmox VE has no such call; hosts that provide one answer like this."""
