"""The ways in which a lease gets its container, each in a world of its own.

Networks are isolated, as the guide tells operators: a container's card is switched on 11 seconds
after its rules were written, so what is waited for after a cold start is above all that.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import requests
from dotenv import dotenv_values
from tests.bench import slow_world
from tests.support import postgres, processes

from pve402_devnet.proxmox import STORAGE, TEMPLATE

SKU = "standard-lxc"
POOL = 30
_TABLES = f"""
[network.tenants]
default = true
bridge = "vmbr0"
isolation = "tenant"
nameservers = ["10.99.0.1"]
ipv4 = {{ subnet = "10.99.0.0/24", gateway = "10.99.0.1", ranges = ["10.99.0.2-10.99.0.254"] }}

[image.prepared]
template = "{STORAGE}:vztmpl/{TEMPLATE}"
prepare = true
"""
_SETTINGS = {
    "PVE402_MAX_UNSETTLED_PER_ADDRESS": "1000",
    "PVE402_MAX_UNSETTLED_PER_PAYER": "1000",
    "PVE402_MAX_UNSETTLED": "1000",
    "PVE402_MEMORY_RESERVE_MB": "0",
    "PVE402_DISK_OVERCOMMIT": "1000",
}
_REPLICA = {
    "PVE402_SECRET_KEY": "0123456789abcdef" * 4,
    "PVE402_INSTANCE": "bench",
    "PVE402_PUBLIC_URL": "http://127.0.0.1:4021",
    "PVE_VMID_MIN": "10000",
    "PVE_VMID_MAX": "19999",
}
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Way:
    """What the world and the service are, and what the service says when it is prepared."""

    name: str
    links: bool = False
    pool: int = 0
    replicas: int = 1

    @property
    def ready(self) -> tuple[str, int]:
        """An event of the log, and how often it is to be there first."""
        if self.links:
            return "image_prepared", 1
        return "pool_guest_ready", self.pool


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The servers of one way, all of one installation."""

    servers: Sequence[processes.ServeProcess]
    packets: bool

    def said(self) -> str:
        """All that the servers wrote."""
        return "\n".join(server.process.said() for server in self.servers)

    def clones(self) -> int:
        """How many containers were cloned: where an image cannot be used, they are unpacked."""
        tasks = self.servers[0].devnet.pve("/nodes/pve/tasks?typefilter=vzclone&limit=1000")
        return len(tasks)


@contextlib.contextmanager
def opened(
    folder: Path, way: Way, *, python: str, packets: bool, pool: int | None = None
) -> Iterator[Shop]:
    """Run a new world and its servers; when this returns, all that is prepared is ready."""
    size = way.pool if pool is None else pool
    wanted = {"PVE402_CATALOGUE": str(_catalogue(folder, way))}
    if size:
        wanted["PVE402_POOL"] = f"{SKU}:1:128:1={size}"
    with _world(folder, way, packets=packets) as devnet, contextlib.ExitStack() as stack:
        replicated = _shared(stack) if way.replicas > 1 else {}
        servers = [
            stack.enter_context(
                processes.serving(
                    folder,
                    devnet,
                    python=python,
                    **{**_SETTINGS, **wanted, **replicated, **_peer(replicated)},
                )
            )
            for _ in range(way.replicas)
        ]
        shop = Shop(servers=servers, packets=bool(devnet.settings[slow_world.PACKETS]))
        event, count = way.ready
        _wait_for(shop, event, min(count, size) if way.pool else count)
        yield shop


def _catalogue(folder: Path, way: Way) -> Path:
    """What ships with the program, with a network that isolates, and an image if it is wanted."""
    shipped = resources.files("pve402.domain").joinpath("default_catalogue.toml").read_text()
    first = f"[sku.{SKU}]\n"
    sold = shipped.replace(first, f'{first}images = ["prepared"]\n') if way.links else shipped
    network, image, prepared = _TABLES.partition("[image.prepared]")
    file = folder / f"{way.name}.toml"
    file.write_text(sold + network + (image + prepared if way.links else ""), encoding="utf-8")
    return file


def _shared(stack: contextlib.ExitStack) -> Mapping[str, str]:
    server = stack.enter_context(postgres.running_server())
    url = server.create_database().replace("postgresql+asyncpg", "postgresql")
    return {**_REPLICA, "DATABASE_URL": url}


def _peer(replicated: Mapping[str, str]) -> Mapping[str, str]:
    return {"PVE402_PEER_BIND": f"127.0.0.1:{processes.free_port()}"} if replicated else {}


@contextlib.contextmanager
def _world(folder: Path, way: Way, *, packets: bool) -> Iterator[processes.DevnetProcess]:
    env_file = folder / "slow-world.env"
    env_file.unlink(missing_ok=True)
    words = [word for word, is_wanted in (("links", way.links), ("packets", packets)) if is_wanted]
    program = (str(slow_world.__file__),)
    process = processes.start(folder, str(env_file), *words, program=program)
    try:
        processes.wait_until(env_file.exists, process, "up")
        settings = {k: v for k, v in dotenv_values(env_file).items() if v is not None}
        slow = {
            "kind": "slow",
            "endpoint": "settle",
            "delaySeconds": slow_world.figures("facilitator")["settle"],
        }
        url = f"{settings['FACILITATOR_URL']}/devnet/faults"
        requests.post(url, json=slow, timeout=30).raise_for_status()
        yield processes.DevnetProcess(process=process, env_file=env_file, settings=settings)
    finally:
        process.end()


def _wait_for(shop: Shop, event: str, count: int) -> None:
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while shop.said().count(f'"{event}"') < count:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{event} was said fewer than {count} times")
        time.sleep(0.2)
