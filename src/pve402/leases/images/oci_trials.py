"""Tries the file of an OCI image: a guest of ours is made of it, and its shell is asked.

Neither the file nor Proxmox VE's list says for which architecture it is, whether it has a shell, or
whose. So a guest without a card is made on the smallest disk that the image is sold with, completed
as any lease's, started, asked, and destroyed: a trial like the doctor's
(pve402.leases.images.trials). It is never sold and never cloned. If this process dies, a worker
destroys the guest.
"""

import asyncio
import dataclasses
from typing import Final, Protocol

import structlog

from pve402.domain import catalogue, errors, lease, oci_files
from pve402.leases import cluster, machine, on_sale, workflow
from pve402.leases.images import trials
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import nodes as pve_nodes

log = structlog.get_logger(__name__)

_NO_ROOM_SECONDS = 60.0
_ENDED = "unable to get pid"
_EXTRACTING = "extracting OCI image"
_RUNS: Final = {
    "x86_64": frozenset({"x86_64", "amd64", "i386", "i486", "i586", "i686"}),
    "aarch64": frozenset({"aarch64", "arm64", "armhf", "armv7l", "armv8l"}),
}
"""What a node of each architecture runs, as `uname -m` and as Proxmox VE say it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shell:
    """What a guest's shell says of itself; empty if it cannot tell."""

    machine: str
    user: str


class Asking(Protocol):
    """Asks the shells of guests."""

    async def ask(self, row: lease.Lease) -> Shell:
        """Ask once, and leave nothing open. Raises Pve402Error, TimeoutError."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a trial showed: a word of `oci_files.VERDICTS`, and what was seen."""

    word: str
    told: str = ""


class OciTrials:
    """Tries files; holds no state between calls."""

    def __init__(
        self,
        trying: trials.Trials,
        guests: pve_guests.Guests,
        nodes: pve_nodes.Nodes,
        machines: machine.Machines,
        asking: Asking,
        *,
        view: cluster.ClusterView,
        selling: on_sale.OnSale,
    ) -> None:
        self._trials = trying
        self._guests = guests
        self._nodes = nodes
        self._machines = machines
        self._asking = asking
        self._view = view
        self._on_sale = selling

    async def verdict_on(self, file: oci_files.OciFile) -> Verdict:
        """Return what a guest made of the file can do.

        Raises RetryLater while there is none to be had, FenceLostError, ProxmoxErrors.
        """
        image, sku = self._sold_as(file)
        rooms = [room for room in await self._view.rooms() if room.node == file.node]
        wanted = trials.of_file(image, file.volume, sku.smallest)
        try:
            async with self._trials.reserved_for_file(wanted, rooms, sku.storages) as row:
                return await self._try_and_remove(file, row)
        except errors.NoCapacity as error:
            reason = "the node has no room for a trial"
            raise workflow.RetryLater(reason, after_seconds=_NO_ROOM_SECONDS) from error

    def _sold_as(self, file: oci_files.OciFile) -> tuple[str, catalogue.Sku]:
        """Return an image of the file, and the sku on the node that sells it the smallest."""
        selling = self._on_sale.now
        names = [one.name for one in selling.images_on_sale if one.template == file.volume]
        skus = [
            (sku.disk_gb.least, name, sku)
            for name in names
            for sku in selling.skus.values()
            if name in sku.images and sku.is_sold_on(file.node)
        ]
        if not skus:
            raise workflow.RetryLater("no sku sells it here", after_seconds=_NO_ROOM_SECONDS)
        _, name, sku = min(skus, key=lambda one: one[0])
        return name, sku

    async def _try_and_remove(self, file: oci_files.OciFile, row: lease.Lease) -> Verdict:
        """Try, then remove the guest; a process that is being ended leaves it to the workers."""
        try:
            found = await self._try(file, row)
        except Exception:
            await self._trials.remove_held(row, asyncio.sleep)
            raise
        left = await self._trials.remove_held(row, asyncio.sleep)
        if left is not None:
            log.warning("trial_not_removed", lease=row.lease_id, vmid=row.vmid, reason=left)
        return found

    async def _try(self, file: oci_files.OciFile, row: lease.Lease) -> Verdict:
        try:
            row = await self._trials.create(row)
        except workflow.GiveUp as end:
            if _EXTRACTING in end.reason:
                return Verdict(word="not_unpacked", told=f"{end.reason}; {row.size.disk_gb} GB")
            raise workflow.RetryLater(end.reason) from end
        machine_of_node = await self._machine_of(file.node)
        config = await self._guests.config(pve_guests.GuestRef(node=row.node, vmid=row.vmid))
        told = config.values.get("arch", "")
        if not _can_run(machine_of_node, told):
            return Verdict(word="wrong_architecture", told=f"{told} on {machine_of_node}")
        if (failed := await self._start(row)) is not None:
            return failed
        return await self._ask(row, machine_of_node)

    async def _start(self, row: lease.Lease) -> Verdict | None:
        """Start the guest; return why the file is to blame if it does not start twice."""
        for is_last in (False, True):
            try:
                await self._trials.start(row)
            except pve.ProxmoxFault as error:
                reason = workflow.reason_of(error)
                if isinstance(error, workflow.TRANSIENT):
                    raise workflow.RetryLater(reason) from error
                if is_last:
                    word = "does_not_live" if _ENDED in reason.lower() else "no_shell"
                    return Verdict(word=word, told=reason)
            else:
                break
        return None

    async def _ask(self, row: lease.Lease, node: str) -> Verdict:
        try:
            said = await self._answer(row)
        except (errors.Pve402Error, TimeoutError) as error:
            reason = workflow.reason_of(error)
            lives = await self._machines.look(row) is machine.Sight.RUNNING
            return Verdict(word="no_shell" if lives else "does_not_live", told=reason)
        if not _can_run(node, said.machine):
            return Verdict(word="wrong_architecture", told=f"{said.machine} on {node}")
        if said.user not in {"", "0"}:
            return Verdict(word="not_root", told=f"user {said.user}")
        return Verdict(word=oci_files.PASSED)

    async def _answer(self, row: lease.Lease) -> Shell:
        """Ask twice, unless the guest is down."""
        try:
            return await self._asking.ask(row)
        except (errors.Pve402Error, TimeoutError):
            if await self._machines.look(row) is not machine.Sight.RUNNING:
                raise
            return await self._asking.ask(row)

    async def _machine_of(self, node: str) -> str:
        try:
            return (await self._nodes.status(node)).machine
        except pve.PermissionDenied:
            return ""


def _can_run(node: str, told: str) -> bool:
    """Whether a node runs an architecture; what nobody tells is left to the start."""
    return not node or not told or told in _RUNS.get(node, {node})
