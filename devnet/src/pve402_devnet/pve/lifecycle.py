"""What workers do to a guest that exists: start, stop, shut down, restart, destroy."""

import asyncio
import dataclasses

from pve402_devnet.pve import cables, changes, cluster, config, errors, runtime, tasks

_SHUTDOWN_GRACE_SECONDS = 5  # lxc-stop gets this much longer than its own limit
_LOCKED_START = (
    "run_buffer: 571 Script exited with status 255",
    'lxc_init: 845 Failed to run lxc.hook.pre-start for container "{vmid}"',
    '__lxc_start: 2039 Failed to initialize container "{vmid}"',
)
_NOT_SPAWNED = (
    "sync_wait: 34 An error occurred in another process (expected sequence number 7)",
    '__lxc_start: 2119 Failed to spawn container "{vmid}"',
)
_ENDED_EARLY = (
    (
        "lxc-info: {vmid}: ../src/lxc/af_unix.c: lxc_abstract_unix_recv_fds_iov: 218"
        " Connection reset by peer - Failed to receive response"
    ),
    (
        "lxc-info: {vmid}: ../src/lxc/commands.c: lxc_cmd_rsp_recv_fds: 128"
        ' Failed to receive file descriptors for command "get_init_pid"'
    ),
)
_NODE_ARCHITECTURE = "amd64"
_UP_AFTER = 0.6  # the share of a start after which the guest reads as running


async def start(world: cluster.Cluster, node: str, vmid: int, *, skip_lock: bool = False) -> None:
    """Body of `vzstart`. A guest that runs already is left as it is."""
    async with world.locks.hold(vmid):
        guest = world.guest(vmid, node)
        if guest.config.options.get("template"):
            raise errors.Failure("you can't start a CT if it's a template")
        _require_usable(guest, skip_lock=skip_lock)
        if guest.config.options.get("unprivileged") and _has_quota(guest):
            raise errors.Failure("Quotas are not supported by unprivileged containers.")
        await _bring_up(world, guest)


async def stop(world: cluster.Cluster, node: str, vmid: int, *, skip_lock: bool = False) -> None:
    """Body of `vzstop`. A guest that has stopped in the meantime is not an error."""
    async with world.locks.hold(vmid):
        guest = world.guest(vmid, node)
        _require_usable(guest, skip_lock=skip_lock)
        await _kill(world, guest)


async def shutdown(
    world: cluster.Cluster,
    node: str,
    vmid: int,
    *,
    timeout_seconds: int,
    force: bool,
    task: tasks.Task,
) -> None:
    """Body of `vzshutdown`; with `force` a guest that does not obey is killed."""
    async with world.locks.hold(vmid):
        guest = world.guest(vmid, node)
        guest.config.require_unlocked()
        await _shut_down(world, guest, timeout_seconds=timeout_seconds, force=force, task=task)


async def reboot(
    world: cluster.Cluster, node: str, vmid: int, timeout_seconds: int | None, task: tasks.Task
) -> None:
    """Body of `vzreboot`: shut down, by force if need be, and start with pending changes.

    A lock is noticed at the start alone, so a guest that is being backed up ends and stays down.
    """
    async with world.locks.hold(vmid):
        if not await world.is_running(vmid):
            return
        guest = world.guest(vmid, node)
        limit = 60 if timeout_seconds is None else timeout_seconds
        await _shut_down(world, guest, timeout_seconds=limit, force=True, task=task)
        if guest.config.lock:
            task.log(*(line.format(vmid=vmid) for line in _LOCKED_START))
            raise errors.Failure(f"startup for container '{vmid}' failed")
        await _bring_up(world, guest)


async def destroy(
    world: cluster.Cluster, node: str, vmid: int, *, force: bool, purge: bool, task: tasks.Task
) -> None:
    """Body of `vzdestroy`."""
    async with world.locks.hold(vmid):
        guest = world.guest(vmid, node)
        require_destroyable(guest)
        if await world.is_running(vmid):
            if not force:
                raise errors.Failure(f"unable to destroy CT {vmid} - container is running")
            task.log(f"forced to stop CT {vmid} before destroying!")
            await _kill(world, guest)
        await world.clock.sleep(world.latencies.destroy)
        await world.runtime.destroy(vmid)
        remove(world, guest)
        if purge:
            task.log(f"purging CT {vmid} from related configurations..")


def require_destroyable(guest: cluster.Guest) -> None:
    """Raise `errors.Failure` for a guest that is protected or locked."""
    guest.config.require_unprotected(f"can't remove CT {guest.vmid}")
    guest.config.require_unlocked()


def remove(world: cluster.Cluster, guest: cluster.Guest) -> None:
    """Take a guest out of the cluster: volumes, rights, pool, configuration."""
    for volume in guest.config.volumes().values():
        found = world.storages.volume(volume["volume"])
        if found is not None and found[1].owner == guest.vmid:
            found[0].free(found[1].name)
    world.access.forget_path(f"/vms/{guest.vmid}")
    for pool in world.access.pools.values():
        pool.guests.discard(guest.vmid)
    world.firewalls.forget_guest(guest.vmid)
    world.networks.take_back(guest.vmid)
    for card in guest.config.networks().values():
        world.held_leases.discard(card.get("hwaddr", ""))
    world.guests.pop(guest.vmid, None)


def _require_usable(guest: cluster.Guest, *, skip_lock: bool) -> None:
    if not skip_lock and guest.config.lock != "mounted":
        guest.config.require_unlocked()


def _has_quota(guest: cluster.Guest) -> bool:
    return any(volume.get("quota") == "1" for volume in guest.config.volumes().values())


def warn_without_nesting(
    systemd: int | None, conf: config.GuestConfig, task: tasks.Task | None
) -> None:
    """Warn that a systemd of this version may not come up in an unprivileged guest."""
    if systemd and task and conf.options.get("unprivileged") and not conf.has_nesting:
        task.warn(f"Systemd {systemd} detected. You may need to enable nesting.")


async def _bring_up(world: cluster.Cluster, guest: cluster.Guest) -> None:
    changes.apply_all(world, guest)
    warn_without_nesting(guest.systemd, guest.config, tasks.current_task.get())
    world.require_volumes(guest)
    world.require_bridges(guest)
    await world.clock.sleep(world.latencies.start * _UP_AFTER)
    if await world.is_running(guest.vmid):
        return
    spec = cluster.guest_spec(guest)
    if not spec.nameservers and world.network.connects:  # as the node, which answers for names
        spec = dataclasses.replace(spec, nameservers=(world.nodes[guest.node].address,))
    await _start_programs(world, guest, spec)
    world.mark_started(guest)
    try:
        await cables.connect(world, guest)
    except RuntimeError:  # such a card makes the start fail, and nothing stays behind
        await world.runtime.stop(guest.vmid)
        world.mark_stopped(guest)
        raise
    await world.clock.sleep(world.latencies.start * (1 - _UP_AFTER))
    if spec.entrypoint != runtime.GuestSpec.entrypoint and not await world.is_running(guest.vmid):
        raise _failure(f"unable to get PID for CT {guest.vmid} (not running?)", _ENDED_EARLY, guest)


async def _start_programs(
    world: cluster.Cluster, guest: cluster.Guest, spec: runtime.GuestSpec
) -> None:
    try:
        if guest.image and guest.image.shell_architecture not in (None, _NODE_ARCHITECTURE):
            raise runtime.NoSuchProgramError  # none that this machine could run
        await world.runtime.start(guest.vmid, spec)
    except runtime.NoSuchProgramError:
        text = f"startup for container '{guest.vmid}' failed"
        raise _failure(text, _NOT_SPAWNED, guest) from None


def _failure(text: str, lines: tuple[str, ...], guest: cluster.Guest) -> errors.Failure:
    task = tasks.current_task.get()
    if task is not None:
        task.log(*(line.format(vmid=guest.vmid) for line in lines))
    return errors.Failure(text)


async def _kill(world: cluster.Cluster, guest: cluster.Guest) -> None:
    if not await world.is_running(guest.vmid):
        return
    await world.clock.sleep(world.latencies.stop)
    await world.runtime.stop(guest.vmid)
    world.mark_stopped(guest)


async def _shut_down(
    world: cluster.Cluster,
    guest: cluster.Guest,
    *,
    timeout_seconds: int,
    force: bool,
    task: tasks.Task,
) -> None:
    if not await world.is_running(guest.vmid):
        return
    command = f"command 'lxc-stop -n {guest.vmid} --nokill --timeout {timeout_seconds}'"
    try:
        obeyed = await _ask_to_end(world, guest, timeout_seconds)
    except asyncio.CancelledError:
        task.log(f"{command} failed: received interrupt")
        await world.clock.sleep(world.latencies.kill)
        raise tasks.Killed from None
    if not obeyed and force:
        await _kill(world, guest)
        return
    if not obeyed:
        task.log(f"{command} failed: exit code 1")
        await world.clock.sleep(timeout_seconds + _SHUTDOWN_GRACE_SECONDS)
        raise errors.Failure("container did not stop")
    world.mark_stopped(guest)


async def _ask_to_end(world: cluster.Cluster, guest: cluster.Guest, timeout_seconds: int) -> bool:
    began = world.clock.now()
    obeyed = await world.runtime.shutdown(guest.vmid, timeout_seconds)
    if obeyed:
        await world.clock.sleep(min(world.latencies.shutdown, timeout_seconds))
        return True
    await world.clock.sleep(timeout_seconds - (world.clock.now() - began))
    return False
