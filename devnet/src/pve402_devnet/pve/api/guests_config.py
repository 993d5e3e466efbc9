"""`/nodes/{node}/lxc/{vmid}/config` and `/pending`."""

import copy
from collections.abc import Sequence

from pve402_devnet.pve import (
    cables,
    changes,
    cluster,
    config,
    errors,
    formats,
    guest_rights,
    guest_schema,
    rest,
)

_PATH = "/nodes/{node}/lxc/{vmid}"
_CONFIG_PRIVILEGES = (
    "VM.Config.Disk",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
)
_MODIFIED = "detected modified configuration - file changed by other user? Try again."


async def read(call: rest.Call) -> rest.Json:
    """The configuration with pending changes, without them, or of a snapshot."""
    name = call.text("snapshot")
    if name and call.flag("current"):
        text = "cannot use 'snapshot' parameter with 'current'"
        raise errors.ParameterErrors({"snapshot": text, "current": text})
    conf = call.guest.config
    if name:
        return _shown(conf, snapshot_of(conf, name))
    return _shown(conf, conf.options if call.flag("current") else conf.merged())


def _shown(conf: config.GuestConfig, options: config.Section) -> dict[str, object]:
    raw = {"lxc": conf.raw} if conf.raw else {}
    return {**options, **raw, "digest": conf.digest}


async def pending(call: rest.Call) -> rest.Json:
    """Every option with its pending change."""
    conf = call.guest.config
    rows: list[dict[str, object]] = []
    for name, value in {**conf.options, "digest": conf.digest}.items():
        row: dict[str, object] = {"key": name, "value": value}
        if name in conf.pending:
            row["pending"] = conf.pending[name]
        if name in conf.pending_delete:
            row["delete"] = 1
        rows.append(row)
    rows += [
        {"key": name, "pending": value}
        for name, value in conf.pending.items()
        if name not in conf.options
    ]
    return rows


async def update(call: rest.Call) -> rest.Json:
    """Change options, at once if the guest's state allows. Waits for the lock file."""
    wanted = {n: v for n, v in call.params.items() if n not in ("node", "vmid", "digest")}
    if not wanted:
        raise errors.Failure("no options specified")
    delete = formats.split_list(str(wanted.pop("delete", "")))
    revert = formats.split_list(str(wanted.pop("revert", "")))
    async with call.world.locks.hold(call.vmid):
        guest = call.guest
        guest.config.require_unlocked()
        require_digest(call, guest.config)
        _require_known(guest, call, wanted, delete, revert)
        await _store(call, guest, wanted, delete, revert)
        await cables.follow(call.world, guest)
        call.world.require_bridges(guest)
    return None


def snapshot_of(conf: config.GuestConfig, name: str) -> config.Section:
    """A snapshot's options; raises `errors.Failure` if there is no such snapshot."""
    if name not in conf.snapshots:
        raise errors.Failure(f"snapshot '{name}' does not exist")
    return conf.snapshots[name]


def require_digest(call: rest.Call, conf: config.GuestConfig) -> None:
    """Raise `errors.Failure` if the caller read another version of the file."""
    if call.text("digest") not in ("", conf.digest):
        raise errors.Failure(_MODIFIED)


def _require_known(
    guest: cluster.Guest,
    call: rest.Call,
    wanted: config.Section,
    delete: Sequence[str],
    revert: Sequence[str],
) -> None:
    old = guest.config.options
    unprivileged = bool(old.get("unprivileged"))
    for names in (delete, revert):
        guest_rights.require_changes(
            call, vmid=call.vmid, old=old, new={}, delete=names, unprivileged=unprivileged
        )
    _refuse_contradictions("revert", revert, wanted, "'-revert {0}'")
    _refuse_contradictions("delete", delete, wanted, "-delete {0}'")
    for name in set(delete) & set(revert):
        text = f"you can't use '-delete {name}' and '-revert {name}' at the same time"
        raise errors.ParameterErrors({"delete": text})
    guest_rights.require_changes(
        call, vmid=call.vmid, old=old, new=wanted, unprivileged=unprivileged
    )


def _refuse_contradictions(
    parameter: str, names: Sequence[str], wanted: config.Section, words: str
) -> None:
    for name in names:
        if name not in guest_schema.OPTIONS:
            raise errors.ParameterErrors({parameter: f"unknown option '{name}'"})
        if name in wanted:
            text = f"you can't use '-{name}' and {words.format(name)} at the same time"
            raise errors.ParameterErrors({parameter: text})


async def _store(
    call: rest.Call,
    guest: cluster.Guest,
    wanted: config.Section,
    delete: Sequence[str],
    revert: Sequence[str],
) -> None:
    before = copy.deepcopy(guest.config)
    running = await call.world.is_running(call.vmid)
    try:
        problems = changes.update(
            call.world, guest, wanted=wanted, delete=delete, revert=revert, running=running
        )
        if problems:
            raise errors.ParameterErrors(problems)
    except errors.ApiError:
        guest.config = before
        raise


ROUTES = (
    rest.Route(
        method="GET",
        path=f"{_PATH}/config",
        handler=read,
        permission=rest.needs("/vms/{vmid}", "VM.Audit"),
        parameters={
            **guest_schema.OF_A_GUEST,
            "current": guest_schema.flag(),
            "snapshot": guest_schema.text(format="pve-configid", max_length=40),
        },
    ),
    rest.Route(
        method="PUT",
        path=f"{_PATH}/config",
        handler=update,
        permission=rest.needs_any("/vms/{vmid}", *_CONFIG_PRIVILEGES),
        parameters=guest_schema.UPDATE,
        protected=True,
    ),
    rest.Route(
        method="GET",
        path=f"{_PATH}/pending",
        handler=pending,
        permission=rest.needs("/vms/{vmid}", "VM.Audit"),
        parameters=guest_schema.OF_A_GUEST,
    ),
)
