"""The simulated cluster: everything calls and workers read and change."""

import asyncio
import collections
import ipaddress
import itertools
import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from pve402_devnet.pve import (
    access,
    certificate,
    clock,
    config,
    credentials,
    errors,
    faults,
    locks,
    options,
    registries,
    runtime,
    sdn,
    storage,
    tasks,
    tickets,
    workers,
)
from pve402_devnet.pve.firewall import files

_HOST_LOOKUP = "failed to get address info for: {0}: Temporary failure in name resolution"
_FIRST_LEASE, _LEASES = 100, 150  # of the last octet of an address by DHCP
_FIRST_GUEST_PID = 20_000
_LIVES_KEPT = 64


@dataclass(kw_only=True, eq=False)
class Guest:
    """A container: its configuration and what is known of it at run time."""

    vmid: int
    node: str
    config: config.GuestConfig
    created_at: float
    template: str = ""
    systemd: int | None = None
    image: registries.OciImage | None = None
    started_at: float | None = None
    pid: int | None = None
    published: dict[str, object] | None = None
    ssh_public_keys: str = ""
    password: str = field(default="", repr=False)


class Cluster:
    """Nodes, guests, storages, tasks, rights, and the programs behind the guests."""

    def __init__(
        self,
        chosen: options.SimulatorOptions,
        guest_runtime: runtime.GuestRuntime,
        terminal: runtime.TerminalService,
        network: runtime.Network | None = None,
    ) -> None:
        self.options = chosen
        self.clock: clock.Clock = (
            clock.TickClock() if chosen.progress is options.Progress.BY_TICK else clock.RealClock()
        )
        self.latencies = _latencies(chosen)
        self.runtime = guest_runtime
        self.terminal = terminal
        self.network: runtime.Network = network or runtime.NullNetwork()
        self._background: set[asyncio.Task[None]] = set()
        self.nodes = {node.name: node for node in chosen.nodes}
        self.maintenance: set[str] = set()  # nodes that high availability keeps empty
        self.offline = {node.name for node in chosen.nodes if not node.online}
        self.quorate = True
        self.statistics_dead = False
        self.guests: dict[int, Guest] = {}
        self.past_lives: dict[int, collections.deque[tuple[float, float]]] = (
            collections.defaultdict(lambda: collections.deque(maxlen=_LIVES_KEPT))
        )  # when guests with a vmid ran, from start to end
        self.access = access.Access(chosen.access, chosen.root_password)
        self.tickets = tickets.TicketOffice(self.clock)
        self.doorkeeper = credentials.Doorkeeper(self.access, self.tickets, self.clock)
        self.faults = faults.Faults()
        self.tasks = tasks.TaskRegistry(self.clock, self.faults)
        self.locks = locks.ConfigLocks(self.clock)
        self.storages = storage.Storages(chosen)
        self.firewalls = files.Firewalls()
        self.networks = sdn.Networks()
        self.consoles: dict[int, runtime.ConsoleSession] = {}
        self.daemons = {name: workers.Workers(chosen.daemon_workers) for name in self.nodes}
        made = certificate.make(chosen.host)
        self.root_certificate, self.fingerprint = made.pem, made.fingerprint_sha256
        self.started_at = self.clock.now()
        self.leases: dict[str, int] = {}
        self.held_leases: set[str] = set()  # hardware addresses that were answered, over cables
        self._pids = itertools.count(_FIRST_GUEST_PID, 11)

    @property
    def local_node(self) -> str:
        """The node whose API daemon answers."""
        return next(iter(self.nodes))

    def resolve_node(self, name: str) -> str:
        """Find the node a path names; raises `errors.Failure` as a failed look-up does."""
        if name == "localhost":
            return self.local_node
        if name not in self.nodes:
            detail = _HOST_LOOKUP.format(name)
            raise errors.Failure(f"hostname lookup '{name}' failed - {detail}")
        return name

    def guest(self, vmid: int, node: str) -> Guest:
        """Load a guest of a node; raises `errors.Failure` where its file is not there."""
        guest = self.guests.get(vmid)
        if guest is None or guest.node != node:
            raise errors.Failure(
                f"Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist"
            )
        return guest

    def require_unused(self, vmid: int) -> None:
        """Raise `errors.Failure` where a vmid is taken, on whichever node."""
        guest = self.guests.get(vmid)
        if guest is not None:
            raise errors.Failure(f"CT {vmid} already exists on node '{guest.node}'")

    def require_quorum(self) -> None:
        """Raise `errors.Failure` while most of the cluster is away."""
        if not self.quorate:
            raise errors.Failure("cluster not ready - no quorum?")

    def require_volumes(self, guest: Guest) -> None:
        """Raise `errors.Failure` for the first volume that a guest names and no storage has."""
        for volume in guest.config.volumes().values():
            name = volume["volume"]
            if storage.split_volume_id(name) and self.storages.volume(name) is None:
                raise errors.Failure(f"volume '{name}' does not exist")

    def held_address(self, guest: Guest, card: Mapping[str, str]) -> str | None:
        """The address a running guest's card has by DHCP now, some seconds after the start."""
        if self.network.connects:
            held = card.get("hwaddr", "") in self.held_leases
        else:
            since = self.clock.now() - (guest.started_at or self.clock.now())
            held = since >= self.latencies.dhcp and card.get("link_down") != "1"
        return self.dhcp_address(guest.node, card) if held else None

    def dhcp_address(self, node: str, card: Mapping[str, str]) -> str | None:
        """The address a card is given: by its network, or by the router of a bridge."""
        hardware_address = card.get("hwaddr", "")
        if card.get("bridge") in self.networks.applied.networks:
            return self.networks.address_of(hardware_address)
        number = self.leases.setdefault(hardware_address, len(self.leases))
        around = ipaddress.ip_interface(f"{self.nodes[node].address}/24").network
        return f"{around.network_address + _FIRST_LEASE + number % _LEASES}/24"

    def gateway_of(self, node: str, card: Mapping[str, str]) -> str:
        """The router that a card is told of by DHCP."""
        network = self.networks.applied.networks.get(card.get("bridge", ""))
        if network is None:
            return self.nodes[node].address
        return next((one.gateway for one in network.subnets.values() if one.gateway), "")

    def bridges(self, node: str) -> tuple[str, ...]:
        """Name what guests of a node can be plugged into: bridges and applied networks."""
        return (*self.nodes[node].bridges, *self.networks.bridges)

    def require_bridges(self, guest: Guest) -> None:
        """Raise `errors.Failure` for the first bridge that a guest names and its node lacks."""
        for network in guest.config.networks().values():
            bridge = network.get("bridge")
            if bridge and bridge not in self.bridges(guest.node):
                raise errors.Failure(f"bridge '{bridge}' does not exist")

    async def is_running(self, vmid: int) -> bool:
        """Tell whether a guest runs; one whose programs ended by themselves is noticed here."""
        guest = self.guests.get(vmid)
        if guest is None or guest.started_at is None:
            return False
        if await self.runtime.is_running(vmid):
            return True
        self.mark_stopped(guest)
        return False

    def mark_started(self, guest: Guest) -> None:
        """Note that a guest's programs run."""
        guest.started_at = self.clock.now()
        guest.pid = next(self._pids)

    def mark_stopped(self, guest: Guest) -> None:
        """Note that a guest's programs are gone."""
        if guest.started_at is not None:
            self.past_lives[guest.vmid].append((guest.started_at, self.clock.now()))
        guest.started_at = None
        guest.pid = None

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """End what still goes on in the background."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def next_free_vmid(self) -> int:
        """Find the lowest vmid that no guest has."""
        return next(n for n in itertools.count(100) if n not in self.guests)


def guest_spec(guest: Guest) -> runtime.GuestSpec:
    """Put together what a runtime needs to start a guest."""
    conf = guest.config
    cores = conf.options.get("cores")
    addresses = tuple(
        network[key]
        for network in conf.networks().values()
        for key in ("ip", "ip6")
        if "/" in network.get(key, "")
    )
    root = conf.volumes().get("rootfs", {})
    return runtime.GuestSpec(
        node=guest.node,
        hostname=conf.text("hostname", f"CT{guest.vmid}"),
        template=guest.image.guest if guest.image else guest.template,
        memory_mb=conf.integer("memory", 512),
        swap_mb=conf.integer("swap", 512),
        cores=int(cores) if cores is not None else None,
        disk_gb=storage.size_of(root.get("size", "0")) / 1024**3,
        unprivileged=bool(conf.options.get("unprivileged")),
        cmode=conf.text("cmode", "tty"),
        entrypoint=conf.text("entrypoint", runtime.GuestSpec.entrypoint),
        addresses=addresses,
        nameservers=tuple(conf.text("nameserver").split()),
        environment=_environment(conf.text("env")),
        ssh_public_keys=guest.ssh_public_keys,
        password=guest.password,
    )


def _environment(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (re.split("=", variable, maxsplit=1) for variable in text.split("\0") if variable)
    return tuple((name, value) for name, value in pairs)


def _latencies(chosen: options.SimulatorOptions) -> options.Latencies:
    if chosen.progress is options.Progress.IMMEDIATELY:
        return chosen.latencies.scaled(0)
    return chosen.latencies.scaled(chosen.latency_scale)
