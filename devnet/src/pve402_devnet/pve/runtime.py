"""What the simulated Proxmox needs from the programs behind it: running guests and consoles.

The REST side knows configurations, locks and tasks. Whether a guest is a real shell in namespaces
or nothing at all is decided by the `GuestRuntime` it is given; who speaks on the console sockets
is decided by the `TerminalService`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from aiohttp import web

WITHOUT_SHELL = "noshell"
"""The template of guests that have neither a shell nor anything else but one program."""


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """What a guest is started from: the parts of its configuration a runtime can honour."""

    node: str
    hostname: str
    template: str
    memory_mb: int = 512
    swap_mb: int = 512
    cores: int | None = None
    disk_gb: float = 4.0
    unprivileged: bool = True
    cmode: str = "tty"
    entrypoint: str = "/sbin/init"
    addresses: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    ssh_public_keys: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Card:
    """A network card of a guest. Addresses have their masks; gateways are of either version."""

    index: int
    name: str
    bridge: str
    hardware_address: str
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    firewall: bool = False
    link_down: bool = False


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """A bridge or virtual network of a node, the node's own addresses on it with their masks.

    On an isolated one the guests reach the node alone. A shared one leads to the other nodes.
    """

    name: str
    addresses: tuple[str, ...] = ()
    isolated: bool = False
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class GuestAddress:
    """One network interface as the guest itself reports it."""

    name: str
    hardware_address: str
    inet: str | None = None
    inet6: str | None = None


@dataclass(frozen=True, kw_only=True)
class GuestUsage:
    """Figures of a running guest; byte counts are since its start."""

    cpu: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    net_in_bytes: int = 0
    net_out_bytes: int = 0
    uptime_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class ExecResult:
    """What a command left behind: standard output and error joined, as a task log shows them."""

    exit_code: int
    output: str


class NoSuchProgramError(RuntimeError):
    """A guest's entrypoint is not in it."""


class GuestRuntime(Protocol):
    """The programs that are a running guest. Every method is safe to call twice.

    A method that cannot do its work raises RuntimeError; the text becomes the end of the task.
    """

    async def start(self, vmid: int, spec: GuestSpec) -> None:
        """Bring the guest up; return when its first process runs, or has run.

        Raises NoSuchProgramError.
        """

    async def stop(self, vmid: int) -> None:
        """Kill the guest; return when nothing of it runs. A stopped guest is no error."""

    async def shutdown(self, vmid: int, timeout_seconds: float) -> bool:
        """Ask the guest to shut down. Returns False if it is still running after the given time."""

    async def is_running(self, vmid: int) -> bool:
        """Tell whether the first process of the guest is alive."""

    async def destroy(self, vmid: int) -> None:
        """Remove the guest's files and its snapshots. An unknown guest is no error."""

    async def copy(self, source: int, target: int, *, snapshot: str = "") -> None:
        """Give a guest that never ran the files of another, or of a snapshot of it."""

    async def take_snapshot(self, vmid: int, name: str) -> None:
        """Keep the files that the guest has now."""

    async def roll_back(self, vmid: int, name: str) -> None:
        """Put a stopped guest's files back to what they were when the snapshot was taken."""

    async def delete_snapshot(self, vmid: int, name: str) -> None:
        """Remove what a snapshot kept. An unknown one is no error."""

    async def usage(self, vmid: int) -> GuestUsage | None:
        """Measure a running guest; None where the runtime cannot."""

    async def exec(self, vmid: int, argv: Sequence[str]) -> ExecResult:
        """Run a command inside a running guest and wait for its end."""


class NullRuntime:
    """Guests without programs: started and stopped at once, for tests of the REST side alone.

    A guest whose entrypoint is not an init ignores the shutdown signal, as such a program does, and
    ends at once if the program does. Guests without a shell have two programs.
    """

    _ENDS_AT_ONCE = frozenset({"/bin/true", "/bin/false", "/hello"})
    _WITHOUT_SHELL = frozenset({GuestSpec.entrypoint, "/hello", "/pause"})

    def __init__(self) -> None:
        self._running: dict[int, GuestSpec] = {}

    async def start(self, vmid: int, spec: GuestSpec) -> None:
        program = spec.entrypoint.partition(" ")[0]
        known = spec.template != WITHOUT_SHELL or program in self._WITHOUT_SHELL
        if program.startswith("/nosuch") or not known:
            raise NoSuchProgramError
        if program not in self._ENDS_AT_ONCE:
            self._running[vmid] = spec

    async def stop(self, vmid: int) -> None:
        self._running.pop(vmid, None)

    async def shutdown(self, vmid: int, timeout_seconds: float) -> bool:
        spec = self._running.get(vmid)
        if spec is not None and spec.entrypoint != GuestSpec.entrypoint:
            return False
        self._running.pop(vmid, None)
        return True

    async def is_running(self, vmid: int) -> bool:
        return vmid in self._running

    async def destroy(self, vmid: int) -> None:
        self._running.pop(vmid, None)

    async def copy(self, source: int, target: int, *, snapshot: str = "") -> None:
        return None

    async def take_snapshot(self, vmid: int, name: str) -> None:
        return None

    async def roll_back(self, vmid: int, name: str) -> None:
        return None

    async def delete_snapshot(self, vmid: int, name: str) -> None:
        return None

    async def usage(self, vmid: int) -> GuestUsage | None:
        return None

    async def exec(self, vmid: int, argv: Sequence[str]) -> ExecResult:
        if vmid not in self._running:
            raise RuntimeError(f"CT {vmid} not running")
        return ExecResult(exit_code=0, output=" ".join(argv) + "\n")


@runtime_checkable
class Network(Protocol):
    """Cables between guests and their nodes, and the filters on them."""

    connects: bool
    """Whether guests have cards at all."""

    async def start(self, nodes: Sequence[str]) -> None:
        """Make the nodes' parts; RuntimeError says why this machine cannot."""

    async def stop(self) -> None:
        """Cut everything."""

    async def build(self, node: str, bridges: Sequence[Bridge]) -> None:
        """Have these bridges on a node, besides those that are there."""

    async def connect(self, node: str, vmid: int, cards: Sequence[Card]) -> None:
        """Make a running guest's cards be these; a guest that does not run is no error."""

    async def disconnect(self, vmid: int) -> None:
        """Clear away what led to a guest that does not run any more."""

    async def ask(self, vmid: int, interface: str) -> bool:
        """Ask for an address by DHCP on a guest's card; tells whether an answer came."""

    async def filter(self, node: str, script: str) -> None:
        """Put a node's filters, in the language of nftables, in place of those before."""

    def connected(self) -> frozenset[int]:
        """Name the guests that have cables."""


class NullNetwork:
    """No cables: guests are not connected to anything."""

    connects = False

    async def start(self, nodes: Sequence[str]) -> None:
        """Nothing to make."""

    async def stop(self) -> None:
        """Nothing to cut."""

    async def build(self, node: str, bridges: Sequence[Bridge]) -> None:
        """No bridge to build."""

    async def connect(self, node: str, vmid: int, cards: Sequence[Card]) -> None:
        """No cable to lay."""

    async def disconnect(self, vmid: int) -> None:
        """No cable to clear away."""

    async def ask(self, vmid: int, interface: str) -> bool:
        return True

    async def filter(self, node: str, script: str) -> None:
        """Nothing passes that could be filtered."""

    def connected(self) -> frozenset[int]:
        return frozenset()


class ConsoleKind(Enum):
    """Which worker serves a console port."""

    TERM = "term"  # termproxy: framed bytes of a terminal
    VNC = "vnc"  # vncterm behind vncproxy: RFB 3.8


@dataclass(frozen=True, kw_only=True)
class ConsoleSession:
    """One open console port, from the POST that made it to the end of its worker task.

    `command` is the worker's command line as Proxmox prints it when the worker fails, so a
    service that ends with exit code N raises `RuntimeError(session.failure(N))`.
    """

    kind: ConsoleKind
    node: str
    vmid: int
    port: int
    user: str
    cmode: str
    upid: str
    command: str
    ticket: str = field(repr=False)
    password: str = field(default="", repr=False)
    log: Callable[[str], None] = field(repr=False)

    def failure(self, exit_code: int) -> str:
        """Word the end of a worker that exited with a code other than 0."""
        return f"command '{self.command}' failed: exit code {exit_code}"


@runtime_checkable
class TerminalService(Protocol):
    """Serves console ports. Tickets, ports, tasks and rights are checked before it is called.

    `open_term` and `open_vnc` are the whole life of a worker: they return when the console has
    ended and are cancelled when its task is stopped. RuntimeError is the worker's failure text.
    """

    async def open_term(self, session: ConsoleSession) -> None:
        """Be termproxy on `session.port` until the terminal ends; 10 s without a client fails."""

    async def open_vnc(self, session: ConsoleSession) -> None:
        """Be vncterm on `session.port` until the client leaves; 10 s without a client fails."""

    async def websocket(self, request: web.Request, node: str, port: int) -> web.StreamResponse:
        """Serve an upgrade whose ticket was found good; nobody may listen on the port any more."""
