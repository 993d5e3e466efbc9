"""Guests: the LXC containers of Proxmox VE and what can be done with them.

Calls that start a task return its UPID as soon as the worker runs; use
`tasks.Tasks.wait_until_finished` to learn whether it succeeded.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from pve402.proxmox import (
    answers,
    errors,
    guest_views,
    parameters,
    past_figures,
    resources,
    shapes,
)
from pve402.proxmox.client import ProxmoxClient, WebSocket
from pve402.proxmox.guest_spec import GuestSpec, NetworkSpec
from pve402.proxmox.guest_views import (
    GuestConfig,
    GuestStatus,
    Interface,
    TerminalTicket,
    VncTicket,
)
from pve402.proxmox.resources import GuestSummary, RunState
from pve402.proxmox.upid import Upid

__all__ = [
    "GuestConfig",
    "GuestRef",
    "GuestSpec",
    "GuestStatus",
    "GuestSummary",
    "Guests",
    "Interface",
    "NetworkSpec",
    "RunState",
    "TerminalTicket",
    "VncTicket",
]

#: Extra time for a shutdown call, on top of the seconds it gives the guest.
_DEFAULT_SHUTDOWN_SECONDS = 60
_OVERRULE = "overrule-shutdown"


@dataclass(frozen=True, kw_only=True)
class GuestRef:
    """Names one guest. A vmid can be reused for another guest, so compare tags."""

    node: str
    vmid: int

    def path(self, *segments: str) -> str:
        """The API path of a call on this guest."""
        return parameters.api_path("nodes", self.node, "lxc", self.vmid, *segments)


class Guests:
    """Creates, runs, inspects and deletes guests.

    Besides the errors it names, every method may raise Unreachable, OutcomeUnknown,
    AuthenticationFailed, PermissionDenied, NodeUnknown and ProxmoxFault.
    """

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def create(self, ref: GuestRef, spec: GuestSpec) -> Upid:
        """Start to create a guest.

        Raises InvalidParameters (before sending, if we can tell), GuestExists,
        StorageMissing. A missing template only makes the task fail.
        """
        path = parameters.api_path("nodes", ref.node, "lxc")
        return await self._start_task("POST", path, spec.parameters(ref.vmid))

    async def start(self, ref: GuestRef) -> Upid:
        """Start the guest. Raises GuestRunning; if the guest is missing, the task fails."""
        return await self._start_task("POST", ref.path("status", "start"))

    async def stop(self, ref: GuestRef) -> Upid:
        """Stop the guest at once, and end shutdowns that we asked for before.

        Behind one that waits, a stop would fail after ten seconds. Proxmox VE refuses to end them
        for a guest that HA manages, and before 8.2: then it just stops the guest. Raises
        GuestNotRunning, even for a missing guest.
        """
        path = ref.path("status", "stop")
        try:
            return await self._start_task("POST", path, {_OVERRULE: True})
        except errors.InvalidParameters as error:
            if set(error.errors) != {_OVERRULE}:
                raise
        return await self._start_task("POST", path)

    async def shutdown(
        self,
        ref: GuestRef,
        *,
        limit_seconds: int = _DEFAULT_SHUTDOWN_SECONDS,
        force_stop: bool = False,
    ) -> Upid:
        """Ask the guest to shut down; the task fails if it does not in time.

        With `force_stop`, Proxmox then stops it. Raises GuestNotRunning.
        """
        options = {"timeout": limit_seconds, "forceStop": force_stop or None}
        return await self._start_task("POST", ref.path("status", "shutdown"), options)

    async def reboot(
        self, ref: GuestRef, *, limit_seconds: int = _DEFAULT_SHUTDOWN_SECONDS
    ) -> Upid:
        """Shut the guest down and start it again. Raises GuestNotRunning."""
        return await self._start_task(
            "POST", ref.path("status", "reboot"), {"timeout": limit_seconds}
        )

    async def clone(
        self,
        source: GuestRef,
        vmid: int,
        *,
        hostname: str,
        description: str,
        pool: str | None,
        snapshot: str | None = None,
        is_linked: bool = True,
        target: str | None = None,
    ) -> Upid:
        """Start to make a clone of a guest on its own node and storage; needs VM.Clone.

        With another node as `target`, it moves there at the end of the task, which is one of the
        source's node. Refused with a ProxmoxFault unless all disks are on shared storages.

        It can be linked if the guest is a template, or on some storages if a snapshot is named. A
        full one is made of a guest that is down, or of a snapshot. All other options are the
        source's, tags and addresses too, until they are changed; cards get other hardware
        addresses. Raises GuestLocked while another clone is made, GuestExists, GuestMissing,
        ProxmoxFault if the storage cannot.
        """
        form: parameters.Parameters = {"newid": vmid, "full": not is_linked, "hostname": hostname}
        told = {"description": description, "pool": pool, "snapname": snapshot, "target": target}
        return await self._start_task("POST", source.path("clone"), {**form, **told})

    async def make_template(self, ref: GuestRef) -> None:
        """Begin to turn a stopped guest into a template; done once its options say `template`.

        Raises GuestMissing, GuestLocked, ProxmoxFault if it runs or is one already.
        """
        await self._client.call("POST", ref.path("template"))

    async def can_link(self, ref: GuestRef, *, snapshot: str | None = None) -> bool:
        """Whether clones of a template, or of a snapshot, may share its disks.

        Raises GuestMissing.
        """
        return await self._has(ref, "clone", snapshot)

    async def can_copy(self, ref: GuestRef, *, snapshot: str | None = None) -> bool:
        """Whether a guest that is down, or a snapshot of it, can be copied. Raises GuestMissing."""
        return await self._has(ref, "copy", snapshot)

    async def delete(self, ref: GuestRef, *, force: bool = False) -> Upid:
        """Delete the guest and its disks, and remove it from backup jobs and access lists.

        Raises GuestMissing, GuestRunning unless `force`, GuestLocked, GuestProtected.
        """
        options = {"purge": True, "destroy-unreferenced-disks": True, "force": force or None}
        return await self._start_task("DELETE", ref.path(), options)

    async def status(self, ref: GuestRef) -> GuestStatus:
        """The guest's state and figures. Raises GuestMissing."""
        call = answers.Call(method="GET", path=ref.path("status", "current"))
        return guest_views.status(await self._client.call(call.method, call.path), call)

    async def past_figures(
        self, ref: GuestRef, frame: past_figures.TimeFrame
    ) -> tuple[past_figures.Figures, ...]:
        """What was used under the guest's vmid until now, the oldest first; needs VM.Audit.

        Figures of an earlier guest with that vmid come first. Raises FiguresMissing.
        """
        call = answers.Call(method="GET", path=ref.path("rrddata"))
        data = await self._client.call(call.method, call.path, {"timeframe": frame})
        return await asyncio.to_thread(past_figures.read, data, call)

    async def config(self, ref: GuestRef, *, current: bool = False) -> GuestConfig:
        """The guest's stored configuration, with changes that wait for its next start.

        Those are left out with `current`. Raises GuestMissing.
        """
        call = answers.Call(method="GET", path=ref.path("config"))
        form = {"current": True} if current else None
        return guest_views.config(await self._client.call(call.method, call.path, form), call)

    async def update_config(
        self,
        ref: GuestRef,
        changes: parameters.Parameters,
        *,
        delete: Iterable[str] = (),
        digest: str | None = None,
    ) -> None:
        """Change options of the guest and remove those in `delete`; done when this returns.

        With `digest`, Proxmox refuses if the configuration has changed since it was read.
        Any other refusal, such as for a missing bridge, may come after the change was stored,
        so read the configuration back.

        Raises GuestMissing, GuestLocked after 10 s, ConfigChanged, InvalidParameters.
        """
        dropped = ",".join(delete) or None
        form = {**changes, "delete": dropped, "digest": digest}
        await self._client.call("PUT", ref.path("config"), form)

    async def resize_disk(self, ref: GuestRef, disk_gb: int, *, digest: str) -> Upid:
        """Let the root disk have so many GiB. A disk cannot shrink, nor stay as it is.

        The task may succeed although the file system stayed as it was: see `status`'s disk_total.
        Raises GuestMissing, GuestLocked, ConfigChanged if `digest` is not the configuration's,
        ProxmoxFault for a disk that is as large already.
        """
        form = {"disk": "rootfs", "size": f"{disk_gb}G", "digest": digest}
        return await self._start_task("PUT", ref.path("resize"), form)

    async def interfaces(self, ref: GuestRef) -> tuple[Interface, ...]:
        """The running guest's network cards; empty if the guest is stopped or missing."""
        call = answers.Call(method="GET", path=ref.path("interfaces"))
        return guest_views.interfaces(await self._client.call(call.method, call.path), call)

    async def list_all(self) -> tuple[GuestSummary, ...]:
        """Every container in the cluster visible to us, in one call."""
        data = await self._client.call("GET", "/cluster/resources", {"type": "vm"})
        return resources.read(data).guests

    async def next_vmid(self, vmid: int | None = None) -> int:
        """A vmid that is free now, or `vmid` itself if it is free; reserves nothing.

        Raises GuestExists if `vmid` is taken.
        """
        data = await self._client.call("GET", "/cluster/nextid", {"vmid": vmid})
        if isinstance(data, str | int) and str(data).isdecimal():
            return int(data)
        raise errors.UnexpectedAnswer("the answer is not a vmid", call="GET /cluster/nextid")

    async def execute(self, ref: GuestRef, command: str, arguments: str | None = None) -> Upid:
        """Run a command through the exec call some hosts add; stock Proxmox VE lacks it.

        The task's log is the command's output. Raises CallNotSupported.
        """
        form = {"command": command, "params": arguments}
        return await self._start_task("POST", ref.path("exec"), form)

    async def open_terminal(self, ref: GuestRef) -> TerminalTicket:
        """Prepare a terminal. This works for a stopped guest too, but its session then fails.

        Raises GuestMissing.
        """
        call = answers.Call(method="POST", path=ref.path("termproxy"))
        data = await self._client.call(call.method, call.path)
        return guest_views.terminal_ticket(data, call)

    async def open_vnc(self, ref: GuestRef) -> VncTicket:
        """Prepare a VNC server. Raises GuestMissing."""
        call = answers.Call(method="POST", path=ref.path("vncproxy"))
        data = await self._client.call(call.method, call.path, {"websocket": True})
        return guest_views.vnc_ticket(data, call)

    async def connect(self, ref: GuestRef, ticket: TerminalTicket | VncTicket) -> WebSocket:
        """Open the websocket of a prepared console. Raises as `client.open_websocket`."""
        return await self._client.open_websocket(ref.node, ref.vmid, ticket.port, ticket.ticket)

    async def _has(self, ref: GuestRef, feature: str, snapshot: str | None) -> bool:
        call = answers.Call(method="GET", path=ref.path("feature"))
        form = {"feature": feature, "snapname": snapshot}
        data = await self._client.call(call.method, call.path, form)
        return shapes.optional_whole(shapes.as_object(data, call), "hasFeature") == 1

    async def _start_task(
        self, method: str, path: str, params: parameters.Parameters | None = None
    ) -> Upid:
        data = await self._client.call(method, path, params)
        return guest_views.upid(data, answers.Call(method=method, path=path))
