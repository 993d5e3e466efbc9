"""Destroys a lease's guest and makes another, each call noted before it is sent and after it.

    asked_at   upid    what is known
    none       none    nothing was asked that could still happen
    set        none    sent, or about to be: it may arrive until `late_create_seconds` later
    set        set     a task, whose end can be waited for

A guest is destroyed only after its tags were compared. While a call to destroy it may still arrive,
no other is made under its vmid; while one to make it may, the lease is not over.
"""

import dataclasses
import json
from datetime import datetime, timedelta
from typing import Any, Final

from pve402.domain import lease, reinstalls
from pve402.leases import (
    guest_networks,
    machine,
    making_turns,
    oci_guests,
    options,
    workflow,
)
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.storage import database, reinstall_rows, snapshot_rows, vault

Sight = machine.Sight
_OURS: Final = frozenset({Sight.STOPPED, Sight.RUNNING, Sight.UNFINISHED})
_DESTROYING: Final = frozenset({"vzdestroy"})
_LOOK_AGAIN_SECONDS = 5.0


class NumberTakenError(Exception):
    """Somebody else's guest has the lease's vmid."""


class ReinstallCalls:
    """Sends the calls of reinstallations for one process at a time."""

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        guest_network: guest_networks.GuestNetworks,
        secret_vault: vault.Vault,
        settings: options.LeaseOptions,
    ) -> None:
        self._db = db
        self._machines = machines
        self._guests = guests
        self._networks = guest_network
        self._vault = secret_vault
        self._settings = settings
        self._oci_guests = oci_guests.OciGuests(guests, machines, settings)

    async def note(
        self, row: lease.Lease, one: reinstalls.Reinstall, **values: Any
    ) -> reinstalls.Reinstall:
        """Write something down, if the lease is still ours. Raises FenceLostError."""
        async with self._db.begin() as tx:
            await snapshot_rows.check_fence(tx, row)
            return await reinstall_rows.update(tx, one, **values)

    async def destroy(self, row: lease.Lease, one: reinstalls.Reinstall) -> reinstalls.Reinstall:
        """Destroy the lease's guest, and see that it is gone for good.

        Raises RetryLater while a call without an answer may still arrive, and ProxmoxErrors.
        """
        async with self._machines.turn_to_write(row.node):
            sight = await self._machines.look(row)
            if sight in _OURS:
                one = await self._ask_to_destroy(row, one)
        destroying = await self._machines.find_task(row, _DESTROYING)
        if destroying is not None:
            await self._machines.wait_until_created(row, destroying.text)
        await self._wait_for_late_call(one, "a call to destroy the guest may still arrive")
        if await self._machines.look(row) in _OURS:
            raise pve.ProxmoxFault(f"guest {row.vmid} was destroyed, and is still there")
        return await self.note(row, one, state=reinstalls.State.MAKING.value, asked_at=None)

    async def _ask_to_destroy(
        self, row: lease.Lease, one: reinstalls.Reinstall
    ) -> reinstalls.Reinstall:
        """Ask once, in the caller's write turn; an answer leaves earlier calls in doubt."""
        before = one.asked_at
        one = await self.note(row, one, asked_at=self._db.now())
        try:
            upid = await self._guests.delete(_ref(row), force=True)
        except pve.OutcomeUnknown:
            raise
        except pve.ProxmoxError as error:
            one = await self.note(row, one, asked_at=before)
            if isinstance(error, pve.GuestMissing):
                return one
            raise
        one = await self.note(row, one, asked_at=before)
        await self._machines.wait_until_created(row, upid.text)
        return one

    async def make(self, row: lease.Lease, one: reinstalls.Reinstall) -> reinstalls.Reinstall:
        """Have the new guest made, unless it was; return once it is there, and down.

        Raises NumberTakenError, RetryLater, and ProxmoxErrors, after which it may be made.
        """
        row = row.evolve(template=one.template, base=None, forked_from=None, create_sent_at=None)
        sight = await self._machines.look(row)
        if sight is Sight.ABSENT:
            one = await self._make_absent(row, one)
            sight = await self._machines.look(row)
        if sight is Sight.FOREIGN:
            raise NumberTakenError(f"guest {row.vmid} is somebody else's")
        if sight is Sight.IN_MAKING:
            await self._wait_for_making(row, one)
        if sight is Sight.RUNNING:
            sight = await self._machines.ensure_stopped(row, at_once=True)
        if sight is not Sight.STOPPED:
            raise pve.ProxmoxFault(f"the new guest {row.vmid} is {sight.value}")
        await self._oci_guests.complete(row)
        await self._check(row, one)
        return one

    async def wait_out(self, row: lease.Lease, one: reinstalls.Reinstall) -> None:
        """Raise RetryLater while a new guest may still appear for a lease that is to end."""
        if one.state is reinstalls.State.MAKING:
            await self._wait_for_late_call(one, "a new guest may still appear")
            if one.upid is not None:
                await self._see_end_of(row, one.upid)
            if await self._machines.look(row) in {*_OURS, Sight.IN_MAKING}:
                raise workflow.RetryLater("a new guest has appeared", after_seconds=1)

    async def _make_absent(
        self, row: lease.Lease, one: reinstalls.Reinstall
    ) -> reinstalls.Reinstall:
        """Ask for the guest, if nothing that was asked for can still make it."""
        if one.upid is not None:
            return await self._follow(row, one, one.upid)
        await self._wait_for_late_call(one, "a new guest may still appear")
        await making_turns.check(self._db, row, self._settings)
        spec = self.spec(row, one)
        async with self._machines.turn_to_write(row.node):
            try:
                await self._networks.prepare(row)
            except pve.GuestExists as error:
                raise NumberTakenError(str(error)) from error
            one = await self._take_turn(row, one)
            try:
                upid = await self._guests.create(_ref(row), spec)
            except pve.OutcomeUnknown:
                raise
            except pve.ProxmoxError as error:
                await self.note(row, one, asked_at=None)
                if isinstance(error, pve.GuestExists):
                    raise NumberTakenError(str(error)) from error
                raise
            one = await self.note(row, one, upid=upid.text)
        return await self._follow(row, one, upid.text)

    async def _take_turn(self, row: lease.Lease, one: reinstalls.Reinstall) -> reinstalls.Reinstall:
        """Note that we are about to ask for the guest. Raises RetryLater, FenceLostError."""
        async with self._db.begin() as tx:
            await snapshot_rows.check_fence(tx, row)
            await making_turns.claim(self._db, self._settings, tx, row)
            return await reinstall_rows.update(tx, one, asked_at=self._db.now())

    async def _follow(
        self, row: lease.Lease, one: reinstalls.Reinstall, upid: str
    ) -> reinstalls.Reinstall:
        """Wait for the task that makes the guest. Raises what it failed with."""
        try:
            await self._machines.wait_until_created(row, upid)
        except pve.TaskMissing:  # so long ago that its node has forgotten it
            pass
        except pve.ProxmoxError as error:
            if isinstance(error.__cause__, pve.TaskFailed):
                await self.note(row, one, asked_at=None, upid=None)
            raise
        return await self.note(row, one, asked_at=None, upid=None)

    async def _see_end_of(self, row: lease.Lease, upid: str) -> None:
        """Wait for a task, whatever its end."""
        try:
            await self._machines.wait_until_created(row, upid)
        except pve.TaskMissing:
            return
        except pve.ProxmoxError as error:
            if not isinstance(error.__cause__, pve.TaskFailed):
                raise

    async def _wait_for_making(self, row: lease.Lease, one: reinstalls.Reinstall) -> None:
        making = await self._machines.find_task(row, machine.CREATING)
        if making is not None:
            await self._machines.wait_until_created(row, making.text)
        elif one.asked_at is None:  # locked by nobody's task, and not asked for by us
            raise NumberTakenError(f"guest {row.vmid} is locked for creation")
        else:
            await self._wait_for_late_call(one, "the new guest may just be about to be made")
            raise pve.GuestLocked(f"guest {row.vmid} is locked for creation without a task")
        raise workflow.RetryLater("the new guest is just being made", after_seconds=1)

    async def _wait_for_late_call(self, one: reinstalls.Reinstall, why: str) -> None:
        if one.asked_at is None or one.upid is not None:
            return
        now = await self._db.time()
        left = one.asked_at + timedelta(seconds=self._settings.late_create_seconds) - now
        if left > timedelta(0):
            seconds = max(0.05, min(left.total_seconds(), _LOOK_AGAIN_SECONDS))
            raise workflow.RetryLater(why, after_seconds=seconds)

    async def _check(self, row: lease.Lease, one: reinstalls.Reinstall) -> None:
        """Read the new guest back. Raises ProxmoxFault if it is not what its lease says."""
        config = await self._guests.config(_ref(row))
        found = (config.cores, config.memory_mb, hardware_address(config))
        wanted = (row.size.cores, row.size.memory_mb, one.hardware_address)
        if found != wanted or config.has_smaller_disk(row.size.disk_gb):
            raise pve.ProxmoxFault(f"guest {row.vmid} is not what its lease says")

    def spec(self, row: lease.Lease, one: reinstalls.Reinstall) -> pve_guests.GuestSpec:
        """Return what the new guest is to be. Raises InvalidParameters, and SealBrokenError if its
        secrets cannot be read.
        """
        secrets = json.loads(self._vault.unseal(one.sealed_secrets or b"", one.reinstall_id))
        made_of = row.evolve(template=one.template)
        spec = self._machines.spec(made_of, _end(made_of))
        card = dataclasses.replace(spec.network, hardware_address=one.hardware_address)
        spec = dataclasses.replace(
            spec,
            network=card,
            password=secrets["password"],
            ssh_public_keys=tuple(secrets["ssh_public_keys"]),
        )
        spec.parameters(row.vmid)
        return spec


def hardware_address(config: pve_guests.GuestConfig) -> str | None:
    """Return that of a guest's card."""
    parts = (part.partition("=") for part in config.values.get("net0", "").split(","))
    return next((value for name, _, value in parts if name == "hwaddr"), None)


def _end(row: lease.Lease) -> datetime:
    if row.expires_at is None:
        raise LookupError(f"lease {row.lease_id} has no end")
    return row.expires_at


def _ref(row: lease.Lease) -> pve_guests.GuestRef:
    return pve_guests.GuestRef(node=row.node, vmid=row.vmid)
