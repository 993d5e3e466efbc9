"""Guests: the LXC containers of Proxmox VE and what can be done with them.

Calls that start a task answer with its UPID as soon as the worker runs; whether it
succeeded is told by `tasks.Tasks.wait_until_finished`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pve402.proxmox import answers, errors, guest_views, parameters, resources
from pve402.proxmox.client import ProxmoxClient
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
from pve402.proxmox.websocket import WebSocket

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

#: What a shutdown call may take longer than the seconds it gives the guest.
_DEFAULT_SHUTDOWN_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class GuestRef:
    """The name of one guest. A vmid can come back as another guest's; compare tags."""

    node: str
    vmid: int

    def path(self, *segments: str) -> str:
        """The path of a call on this guest."""
        return parameters.api_path("nodes", self.node, "lxc", self.vmid, *segments)


class Guests:
    """Creates, runs, looks at and deletes guests.

    Every method may raise Unreachable, OutcomeUnknown, AuthenticationFailed,
    PermissionDenied, NodeUnknown and ProxmoxFault beside what it names.
    """

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def create(self, ref: GuestRef, spec: GuestSpec) -> Upid:
        """Start the creation of a guest.

        Raises InvalidParameters, before sending where we can tell, GuestExists,
        StorageMissing. A missing template shows only in the task's end.
        """
        path = parameters.api_path("nodes", ref.node, "lxc")
        return await self._start_task("POST", path, spec.parameters(ref.vmid))

    async def start(self, ref: GuestRef) -> Upid:
        """Start the guest. Raises GuestRunning; a missing guest shows in the task's end."""
        return await self._start_task("POST", ref.path("status", "start"))

    async def stop(self, ref: GuestRef) -> Upid:
        """Stop the guest at once. Raises GuestNotRunning, of a missing guest too."""
        return await self._start_task("POST", ref.path("status", "stop"))

    async def shutdown(
        self,
        ref: GuestRef,
        *,
        limit_seconds: int = _DEFAULT_SHUTDOWN_SECONDS,
        force_stop: bool = False,
    ) -> Upid:
        """Ask the guest to end by itself; the task fails where it does not in time.

        With `force_stop` it is then stopped. Raises GuestNotRunning.
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

    async def delete(self, ref: GuestRef, *, force: bool = False) -> Upid:
        """Delete the guest with its disks, and from backup jobs and access lists.

        Raises GuestMissing, GuestRunning unless `force`, GuestLocked, GuestProtected.
        """
        options = {"purge": True, "destroy-unreferenced-disks": True, "force": force or None}
        return await self._start_task("DELETE", ref.path(), options)

    async def status(self, ref: GuestRef) -> GuestStatus:
        """The guest's state and figures. Raises GuestMissing."""
        call = answers.Call(method="GET", path=ref.path("status", "current"))
        return guest_views.status(await self._client.call(call.method, call.path), call)

    async def config(self, ref: GuestRef) -> GuestConfig:
        """The guest's stored configuration. Raises GuestMissing."""
        call = answers.Call(method="GET", path=ref.path("config"))
        return guest_views.config(await self._client.call(call.method, call.path), call)

    async def update_config(
        self,
        ref: GuestRef,
        changes: parameters.Parameters,
        *,
        delete: Iterable[str] = (),
        digest: str | None = None,
    ) -> None:
        """Change options of the guest and drop those named by `delete`; done when it returns.

        With `digest` it is refused where the configuration is not the one that was read.
        Any other refusal may come after the change was stored (so does a missing bridge):
        read it back.

        Raises GuestMissing, GuestLocked after 10 s, ConfigChanged, InvalidParameters.
        """
        dropped = ",".join(delete) or None
        form = {**changes, "delete": dropped, "digest": digest}
        await self._client.call("PUT", ref.path("config"), form)

    async def interfaces(self, ref: GuestRef) -> tuple[Interface, ...]:
        """The running guest's network cards; none for one stopped or missing."""
        call = answers.Call(method="GET", path=ref.path("interfaces"))
        return guest_views.interfaces(await self._client.call(call.method, call.path), call)

    async def list_all(self) -> tuple[GuestSummary, ...]:
        """Every container of the cluster that we may see, in one call."""
        data = await self._client.call("GET", "/cluster/resources", {"type": "vm"})
        return resources.read(data).guests

    async def next_vmid(self, vmid: int | None = None) -> int:
        """A vmid that is free now, or `vmid` itself if it is; nothing is reserved.

        Raises GuestExists where `vmid` is taken.
        """
        data = await self._client.call("GET", "/cluster/nextid", {"vmid": vmid})
        if isinstance(data, str | int) and str(data).isdecimal():
            return int(data)
        raise errors.UnexpectedAnswer("the answer is not a vmid", call="GET /cluster/nextid")

    async def execute(self, ref: GuestRef, command: str, arguments: str | None = None) -> Upid:
        """Run a command through a host's own exec call, which stock Proxmox VE lacks.

        The task's log is the command's output. Raises CallNotSupported.
        """
        form = {"command": command, "params": arguments}
        return await self._start_task("POST", ref.path("exec"), form)

    async def open_terminal(self, ref: GuestRef) -> TerminalTicket:
        """Make a terminal ready, also for a stopped guest, where its session then fails.

        Raises GuestMissing.
        """
        call = answers.Call(method="POST", path=ref.path("termproxy"))
        data = await self._client.call(call.method, call.path)
        return guest_views.terminal_ticket(data, call)

    async def open_vnc(self, ref: GuestRef) -> VncTicket:
        """Make a VNC server ready. Raises GuestMissing."""
        call = answers.Call(method="POST", path=ref.path("vncproxy"))
        data = await self._client.call(call.method, call.path, {"websocket": True})
        return guest_views.vnc_ticket(data, call)

    async def connect(self, ref: GuestRef, ticket: TerminalTicket | VncTicket) -> WebSocket:
        """Open the websocket of a console made ready. Raises as `client.open_websocket`."""
        return await self._client.open_websocket(ref.node, ref.vmid, ticket.port, ticket.ticket)

    async def _start_task(
        self, method: str, path: str, params: parameters.Parameters | None = None
    ) -> Upid:
        data = await self._client.call(method, path, params)
        return guest_views.upid(data, answers.Call(method=method, path=path))
