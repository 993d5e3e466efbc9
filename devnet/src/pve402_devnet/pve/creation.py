"""The worker that makes a guest: disks, unpacking, set-up, and cleaning up after a failure."""

import asyncio
from dataclasses import dataclass, field

from pve402_devnet.pve import (
    changes,
    cluster,
    config,
    errors,
    lifecycle,
    oci,
    options,
    storage,
    tasks,
)

_TAR = (
    "lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- tar xpf - {filter}--totals"
    " --one-file-system -p --sparse --numeric-owner --acls --xattrs"
    " '--xattrs-include=user.*' '--xattrs-include=security.capability'"
    " '--warning=no-file-ignored' '--warning=no-xattr-write'"
    " -C /var/lib/lxc/{vmid}/rootfs --skip-old-files --anchored --exclude './dev/*'"
)
_FILTERS = {"gz": "-z ", "xz": "-J ", "zst": "--zstd ", "bz2": "-j ", "tar": ""}
_UNPACK_SHARE = 0.6  # of the time of a creation
_VERSION_WARNING = (
    "The container's Debian version '99' is newer than the tested version '14'. While everything"
    " may work fine, full compatibility cannot be guaranteed. Please check for PVE system updates."
)
_NO_OS_RELEASE = (
    "/etc/os-release file not found and autodetection failed, falling back to 'unmanaged'"
)
_NO_SHELL = "Architecture detection failed: open '/bin/sh' failed: No such file or directory"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a create call asked for, checked."""

    vmid: int
    node: str
    user: str
    archive: str
    volumes: dict[str, str]
    config: config.GuestConfig
    start: bool = False
    pool: str | None = None
    ssh_public_keys: str = ""
    password: str = field(default="", repr=False)


async def reserve(world: cluster.Cluster, plan: Plan) -> None:
    """Put the locked, empty configuration in place; raises `errors.Failure` for the slower one."""
    prefix = f"unable to create CT {plan.vmid} -"
    try:
        async with world.locks.hold(plan.vmid, patience_seconds=5):
            world.require_unused(plan.vmid)
            world.guests[plan.vmid] = cluster.Guest(
                vmid=plan.vmid,
                node=plan.node,
                config=config.GuestConfig(options={"lock": "create"}),
                created_at=world.clock.now(),
            )
    except errors.Failure as problem:
        raise errors.Failure(f"{prefix} {problem.text}") from problem


async def create(world: cluster.Cluster, plan: Plan, task: tasks.Task) -> None:
    """Body of `vzcreate`. A failure takes everything away again; `start` is a task of its own."""
    async with world.locks.hold(plan.vmid):
        guest = world.guest(plan.vmid, plan.node)
        try:
            await _build(world, plan, guest, task)
        except errors.ApiError as problem:
            lifecycle.remove(world, guest)
            world.storages.free_all_of(plan.vmid)
            raise errors.Failure(f"unable to create CT {plan.vmid} - {problem.text}") from problem
        if plan.pool:
            world.access.pools[plan.pool].guests.add(plan.vmid)
    if plan.start:
        world.tasks.fork(
            plan.node,
            "vzstart",
            str(plan.vmid),
            plan.user,
            lambda _: lifecycle.start(world, plan.node, plan.vmid),
        )


async def _build(
    world: cluster.Cluster, plan: Plan, guest: cluster.Guest, task: tasks.Task
) -> None:
    new = plan.config
    try:
        for name, value in plan.volumes.items():
            new.put(name, _make_volume(world, guest, name, value, task))
        await world.clock.sleep(world.latencies.create * (1 - _UNPACK_SHARE))
        template = _find_template(world, plan, task)
        await _unpack(world, plan, template, task)
        if template.image is not None:
            oci.configure(new, template.image, task)
    except asyncio.CancelledError:
        raise errors.Failure("received interrupt") from None
    _set_up(new, template, task)
    guest.systemd = template.systemd
    lifecycle.warn_without_nesting(guest.systemd, new, task)
    new.options.setdefault("hostname", f"CT{plan.vmid}")
    new.options.setdefault("memory", 512)
    new.options.setdefault("swap", 512)
    guest.template, guest.image = plan.archive, template.image
    guest.password, guest.ssh_public_keys = plan.password, plan.ssh_public_keys
    guest.config = new
    for card in new.networks().values():
        world.networks.give(plan.vmid, card)


def _make_volume(
    world: cluster.Cluster, guest: cluster.Guest, name: str, value: str, task: tasks.Task
) -> str:
    printed = changes.with_new_volume(world, guest, name, value)
    if printed == value:
        return value
    found = world.storages.volume(config.parse_volume(name, printed)["volume"])
    if found is None or found[1].is_subvolume:
        return printed
    problem = storage.creation_problem(*found)
    lines = storage.allocation_log(*found)
    if problem:
        task.log(*(line for line in lines[:1] if not found[0].is_lvm))
        raise errors.Failure(problem)
    task.log(*lines)
    return printed


def _find_template(world: cluster.Cluster, plan: Plan, task: tasks.Task) -> options.TemplateOptions:
    name, _, rest = plan.archive.partition(":")
    found = world.storages.require(name, plan.node)
    template = found.templates.get(found.understand(rest).name)
    if template is None:
        text = f"volume '{plan.archive}' does not exist"
        task.log(text)
        raise errors.Failure(text)
    if template.image is None:
        task.log(f"extracting archive '{found.template_path(template.name)}'")
    else:
        task.log("Detected OCI archive")
    return template


async def _unpack(
    world: cluster.Cluster, plan: Plan, template: options.TemplateOptions, task: tasks.Task
) -> None:
    command = f"command '{_tar_command(plan, template)}'"
    slow = template.behaviour is options.TemplateBehaviour.SLOW
    share = world.latencies.create * _UNPACK_SHARE
    try:
        await world.clock.sleep(world.latencies.unpack_slow if slow else share)
    except asyncio.CancelledError:
        await world.clock.sleep(world.latencies.interrupt)
        raise errors.Failure(f"{command} failed: received interrupt") from None
    if world.faults.take_create_kill():
        raise tasks.Killed
    world.faults.fail_task(tasks.CREATE, executed=False)
    _report_unpacking(world, plan, template, command, task)


def _tar_command(plan: Plan, template: options.TemplateOptions) -> str:
    unpacker = _FILTERS[template.name.rpartition(".")[2]]
    return _TAR.format(filter=unpacker, vmid=plan.vmid)


def _report_unpacking(
    world: cluster.Cluster,
    plan: Plan,
    template: options.TemplateOptions,
    command: str,
    task: tasks.Task,
) -> None:
    size = template.unpacked_bytes
    totals = f"Total bytes read: {size} ({storage.human_size(size)}, 78MiB/s)"
    if template.behaviour is options.TemplateBehaviour.CORRUPT:
        task.log("", "gzip: stdin: not in gzip format", "tar: Child returned status 1")
        task.log("tar: Error is not recoverable: exiting now")
        raise errors.Failure(f"{command} failed: exit code 2")
    root = config.parse_volume("rootfs", plan.config.text("rootfs")).get("size", "0")
    is_full = 0 < storage.size_of(root) < size
    if template.image is not None:
        oci.report(task, is_full=is_full)
    elif is_full:
        task.log("tar: blob: Wrote only 9728 of 10240 bytes", totals)
        task.log("tar: Exiting with failure status due to previous errors")
        raise errors.Failure(f"{command} failed: exit code 2")
    else:
        task.log(totals)
    _take_room(world, plan, size)


def _take_room(world: cluster.Cluster, plan: Plan, size: int) -> None:
    root = config.parse_volume("rootfs", plan.config.text("rootfs"))["volume"]
    found = world.storages.volume(root)
    if found is not None:
        found[1].used_bytes += size


def _set_up(new: config.GuestConfig, template: options.TemplateOptions, task: tasks.Task) -> None:
    expected = new.text("ostype")
    detected = "unmanaged" if expected == "unmanaged" else template.os_type
    if template.behaviour is options.TemplateBehaviour.NO_OS and expected != "unmanaged":
        task.log(_NO_OS_RELEASE)
    if expected and expected != detected:
        task.log(f"got unexpected ostype ({detected} != {expected})")
    if template.behaviour is options.TemplateBehaviour.WARNS:
        task.warn(_VERSION_WARNING)
    new.options["ostype"] = detected
    if "arch" not in new.options:
        new.options["arch"], lines = _architecture(detected, template)
        task.log(*lines)
    if new.text("timezone") == "host":
        task.log(
            "container does not have /usr/share/zoneinfo/Etc/UTC, timezone can not be modified"
        )


def _architecture(os_type: str, template: options.TemplateOptions) -> tuple[str, list[str]]:
    """Look at the header of /bin/sh, but only in systems that are known; else guess."""
    found = "amd64" if template.image is None else template.image.shell_architecture
    if os_type != "unmanaged" and found:
        return found, [f"Detected container architecture: {found}"]
    failed = [_NO_SHELL] if os_type != "unmanaged" else []
    return "amd64", [*failed, "Falling back to amd64.", "Use `pct set VMID --arch ARCH` to change."]
