"""Nodes: the machines of a Proxmox VE cluster and their free capacity."""

from collections.abc import Mapping
from dataclasses import dataclass

from pve402.proxmox import answers, parameters, resources, shapes
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.resources import ClusterResources, NodeSummary

__all__ = ["ClusterResources", "NodeStatus", "NodeSummary", "Nodes", "Space", "Version"]

_VERSION = answers.Call(method="GET", path="/version")


@dataclass(frozen=True, kw_only=True)
class Space:
    """An amount of memory or disk, in bytes."""

    used: int
    total: int
    free: int


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """A node's figures; `cpu_usage` is the busy fraction of all its cores, 0 to 1.

    `machine` is its architecture as `uname -m` says it, empty if it is not told.
    """

    uptime_seconds: int
    cpu_usage: float
    cpu_cores: int
    load_average: tuple[float, ...]
    memory: Space
    root_disk: Space
    machine: str = ""


@dataclass(frozen=True, kw_only=True)
class Version:
    """The host's software, such as release 9.2 and version 9.2.11."""

    release: str
    version: str


class Nodes:
    """Inspects nodes."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def version(self) -> Version:
        """The version of the host; any login may ask, and the call waits for no lock."""
        fields = shapes.as_object(await self._client.call("GET", _VERSION.path), _VERSION)
        return Version(
            release=shapes.text(fields, "release", _VERSION),
            version=shapes.text(fields, "version", _VERSION),
        )

    async def list(self) -> tuple[NodeSummary, ...]:
        """All nodes; their figures are None without Sys.Audit."""
        data = await self._client.call("GET", "/nodes")
        rows = shapes.as_rows(data, answers.Call(method="GET", path="/nodes"))
        return tuple(resources.node(row) for row in rows)

    async def cluster_resources(self) -> ClusterResources:
        """All guests, nodes and storages visible to us, in one call; placement needs them all."""
        return resources.read(await self._client.call("GET", "/cluster/resources"))

    async def status(self, node: str) -> NodeStatus:
        """A node's figures. Raises NodeUnknown, PermissionDenied without Sys.Audit."""
        call = answers.Call(method="GET", path=parameters.api_path("nodes", node, "status"))
        fields = shapes.as_object(await self._client.call("GET", call.path), call)
        processor = shapes.as_object(fields.get("cpuinfo"), call)
        load = fields.get("loadavg")
        return NodeStatus(
            uptime_seconds=shapes.optional_whole(fields, "uptime") or 0,
            cpu_usage=shapes.optional_number(fields, "cpu") or 0.0,
            cpu_cores=shapes.whole(processor, "cpus", call),
            load_average=_numbers(load if isinstance(load, list) else []),
            memory=_space(fields, "memory", call),
            root_disk=_space(fields, "rootfs", call),
            machine=_machine(fields.get("current-kernel")),
        )

    async def bridges(self, node: str) -> tuple[str, ...]:
        """Names of the node's bridges that guests can use and that are visible to us."""
        call = answers.Call(method="GET", path=parameters.api_path("nodes", node, "network"))
        data = await self._client.call("GET", call.path, {"type": "any_bridge"})
        return tuple(shapes.text(row, "iface", call) for row in shapes.as_rows(data, call))

    async def subnets(self, node: str) -> Mapping[str, tuple[str, ...]]:
        """The node's addresses with their masks, by interface; those that have none are left out.

        Raises PermissionDenied or shows less without Sys.Audit on the node.
        """
        call = answers.Call(method="GET", path=parameters.api_path("nodes", node, "network"))
        rows = shapes.as_rows(await self._client.call("GET", call.path), call)
        found = {
            shapes.text(row, "iface", call): tuple(
                filter(None, (shapes.optional_text(row, key) for key in ("cidr", "cidr6")))
            )
            for row in rows
        }
        return {name: addresses for name, addresses in found.items() if addresses}

    async def check_pool(self, name: str) -> None:
        """Raise PoolMissing, or PermissionDenied without Pool.Audit on the resource pool."""
        await self._client.call("GET", "/pools", {"poolid": name})


def _machine(kernel: object) -> str:
    return str(kernel.get("machine") or "") if isinstance(kernel, dict) else ""


def _space(fields: shapes.Fields, name: str, call: answers.Call) -> Space:
    amounts = shapes.as_object(fields.get(name), call)
    return Space(
        used=shapes.whole(amounts, "used", call),
        total=shapes.whole(amounts, "total", call),
        free=shapes.whole(amounts, "free", call),
    )


def _numbers(values: "list[object]") -> tuple[float, ...]:
    """Load averages, which Proxmox sends as strings."""
    numbers = (shapes.optional_number({"value": value}, "value") for value in values[:3])
    return tuple(number for number in numbers if number is not None)
