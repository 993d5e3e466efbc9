"""The processes of a run: the world, the nursery, the servers that come and go, the database.

Everything is on loopback, every process is ended by its own id, and nothing outlives the stage.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from tests.chaos import nursery
from tests.support import loopback, pausing, project

SECRET = "chaos-" * 8
PAY_TO = "0x00000000000000000000000000000000000a11ce"
NETWORK = "eip155:84532"
_START_SECONDS = 150.0
_RATES = 'snapshot_gb_usd_minute = "0.000033"\nimage_gb_usd_minute = "0.000004"'
OCI_SKU = "basic-lxc"  # the last of the shipped catalogue
_OCI = 'images = ["box"]\n[image.box]\noci = "docker.io/library/busybox:1.36"\nos = "BusyBox"\n'


class StageFailed(RuntimeError):
    """A process did not come up, or ended by itself."""


@dataclasses.dataclass(kw_only=True)
class Helper:
    """A process that answers each line of its input with one line."""

    process: asyncio.subprocess.Process
    _turn: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)

    async def ask(self, order: Mapping[str, Any] | None = None) -> Any:
        """Send an order, if there is one, and read the answer."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._turn:
            if order is not None:
                stdin.write(json.dumps(order).encode() + b"\n")
                await stdin.drain()
            line = await asyncio.wait_for(stdout.readline(), _START_SECONDS)
        if not line:
            raise StageFailed("a helper process has ended")
        return json.loads(line)

    async def end(self) -> None:
        """End it by ending its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 15)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@dataclasses.dataclass(kw_only=True)
class Replica:
    """One place where a server runs, dies, and is started again, on a port of its own."""

    name: str
    port: int
    settings: Mapping[str, str] = dataclasses.field(repr=False)
    nurse: Helper
    folder: Path
    hand_url: str
    pid: int = 0
    starts: int = 0
    _ready_at: datetime | None = None
    _served: list[tuple[datetime, datetime]] = dataclasses.field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What all servers of this place wrote."""
        return self.folder / f"{self.name}.log"

    async def start(self, armed: tuple[str, ...] = (), **how: Any) -> None:
        """Start a server; returns before it listens."""
        order = nursery.Start(
            settings=dict(self.settings),
            log=str(self.log),
            hits=str(self.folder / "hits"),
            hand_url=self.hand_url,
            armed=armed,
            **how,
        )
        self.pid = await self.nurse.ask(dataclasses.asdict(order))
        self.starts += 1

    def is_alive(self) -> bool:
        """Whether the server's process runs; one that ended and was not reaped does not."""
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{self.pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] not in "ZX"
        return False

    async def end(self, number: int) -> int:
        """Send a signal to the server and return how it ended: its exit code, or -signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        give_up_at = time.monotonic() + 60
        while self.is_alive():
            if time.monotonic() > give_up_at:
                os.kill(self.pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        code: int = await self.nurse.ask({"reap": self.pid})
        self.pid = 0
        self._served, self._ready_at = self.served(), None
        return code

    async def until_ready(self, session: aiohttp.ClientSession) -> None:
        """Wait until it serves."""
        give_up_at = time.monotonic() + _START_SECONDS
        while time.monotonic() < give_up_at:
            if not self.is_alive():
                raise StageFailed(f"{self.name} ended:\n{self.last_words()}")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{self.url}/readyz") as response:
                    if response.status == 200:
                        self._ready_at = self._ready_at or datetime.now(UTC)
                        return
            await asyncio.sleep(0.05)
        raise StageFailed(f"{self.name} is not ready:\n{self.last_words()}")

    def served(self) -> list[tuple[datetime, datetime]]:
        """When its servers served, from the first answer to the end, or to now."""
        now = [] if self._ready_at is None else [(self._ready_at, datetime.now(UTC))]
        return self._served + now

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def rss_mb(self) -> float:
        """Resident memory of the server now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def open_files(self) -> int:
        """File handles of the server now."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())


@dataclasses.dataclass(kw_only=True)
class Stage:
    """Everything that runs."""

    addresses: Mapping[str, str]
    replicas: tuple[Replica, ...]
    database_url: str
    session: aiohttp.ClientSession
    folder: Path

    def any_url(self) -> str:
        """The address of one of the servers."""
        return random.choice(self.replicas).url

    async def rpc(self, method: str, *params: Any) -> Any:
        """Call the chain."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self.session.post(self.addresses["rpc"], json=call) as response:
            answer = await response.json()
        if "error" in answer:
            raise StageFailed(f"{method}: {answer['error']}")
        return answer["result"]

    async def control(self, path: str, body: Mapping[str, Any]) -> None:
        """Order a fault at the simulated Proxmox."""
        url = f"{self.addresses['control']}{path}"
        async with self.session.post(url, json=body) as response:
            response.raise_for_status()

    async def facilitator_fault(self, kind: str, endpoint: str, **more: Any) -> None:
        """Order a fault at the facilitator."""
        url = f"{self.addresses['facilitator']}/devnet/faults"
        body = {"kind": kind, "endpoint": endpoint, "times": 1, **more}
        async with self.session.post(url, json=body) as response:
            response.raise_for_status()

    async def calm(self) -> None:
        """Forget every fault that has not happened yet."""
        await self.control("/state", {"quorate": True, "fullStorages": [], "killCreates": 0})
        for url in (
            f"{self.addresses['control']}/faults",
            f"{self.addresses['facilitator']}/devnet/faults",
        ):
            async with self.session.delete(url) as response:
                response.raise_for_status()

    async def transact(self, data: str) -> bool:
        """Call the token as a stranger; False if it refuses."""
        url = f"{self.addresses['hand']}/transact"
        async with self.session.post(url, json={"data": data}) as response:
            return response.status == 200

    async def make_wallet(self, owner: str, manner: int, limit: int) -> str:
        """Deploy a contract wallet for an owner; returns its address in lower case."""
        url = f"{self.addresses['hand']}/wallets"
        wish = {"owner": owner, "manner": manner, "limit": limit}
        async with self.session.post(url, json=wish) as response:
            response.raise_for_status()
            return str((await response.json())["address"])

    async def runs(self) -> dict[str, Any]:
        """What the world noted of guests that ran."""
        async with self.session.get(f"{self.addresses['hand']}/runs") as response:
            found: dict[str, Any] = await response.json()
        return found

    async def stored(self) -> dict[str, Any]:
        """Every volume and every pulled file."""
        async with self.session.get(f"{self.addresses['hand']}/stored") as response:
            found: dict[str, Any] = await response.json()
        return found

    async def guests(self) -> list[dict[str, Any]]:
        """Every guest as its node knows it."""
        async with self.session.get(f"{self.addresses['hand']}/guests") as response:
            found: list[dict[str, Any]] = await response.json()
        return found

    async def clear_creation_locks(self) -> None:
        """Do what root does on a node: remove guests that a dead task left locked."""
        async with self.session.delete(f"{self.addresses['hand']}/locked") as response:
            response.raise_for_status()

    async def pve(self, path: str) -> Any:
        """GET from Proxmox's own API."""
        token = f"{self.addresses['token_id']}={self.addresses['token_secret']}"
        url = f"{self.addresses['proxmox']}/api2/json{path}"
        headers = {"Authorization": f"PVEAPIToken={token}"}
        async with self.session.get(url, headers=headers) as response:
            return (await response.json())["data"]


@contextlib.asynccontextmanager
async def open_stage(
    folder: Path,
    database_url: str,
    replicas: int,
    settings: Mapping[str, str],
    latency_scale: float = 0.02,
) -> AsyncIterator[Stage]:
    """Start the world and the places of servers, none of which runs yet."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=60),
                connector=aiohttp.TCPConnector(limit=0),
            )
        )
        world = await _start(stack, folder, "tests.chaos.world", str(latency_scale))
        nurse = await _start(stack, folder, "tests.chaos.nursery")
        addresses = await world.ask()
        own = {
            **settings_of(addresses, database_url),
            "PVE402_CATALOGUE": str(pausing.write_catalogue(folder, _RATES, _OCI)),
            **settings,
        }
        hand = addresses["hand"]
        made = tuple(_replica(number, folder, nurse, own, hand) for number in range(replicas))
        stack.push_async_callback(_end_all, made)
        yield Stage(
            addresses=addresses,
            replicas=made,
            database_url=database_url,
            session=session,
            folder=folder,
        )


async def _start(
    stack: contextlib.AsyncExitStack, folder: Path, module: str, *arguments: str
) -> Helper:
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
    with (folder / f"{module.rpartition('.')[2]}.log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            cwd=project.ROOT,
            env={name: os.environ[name] for name in kept if name in os.environ},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    helper = Helper(process=process)
    stack.push_async_callback(helper.end)
    return helper


async def _end_all(replicas: tuple[Replica, ...]) -> None:
    for replica in replicas:
        if replica.pid:
            await replica.end(signal.SIGKILL)


def _replica(
    number: int, folder: Path, nurse: Helper, settings: Mapping[str, str], hand_url: str
) -> Replica:
    port = loopback.free_port()
    return Replica(
        name=f"serve-{number}",
        port=port,
        settings={**settings, "PVE402_PORT": str(port)},
        nurse=nurse,
        folder=folder,
        hand_url=hand_url,
    )


def settings_of(addresses: Mapping[str, str], database_url: str) -> dict[str, str]:
    """The settings of an operator who uses the world and a database."""
    return {
        "PVE_HOST": addresses["proxmox"],
        "PVE_TOKEN_ID": addresses["token_id"],
        "PVE_TOKEN_SECRET": addresses["token_secret"],
        "PVE_STORAGE": "local",
        "PVE_OS_TEMPLATE": "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz",
        "NETWORK": NETWORK,
        "PAY_TO": PAY_TO,
        "RPC_URL": addresses["rpc"],
        "FACILITATOR_URL": addresses["facilitator"],
        "DATABASE_URL": database_url,
        "PVE402_SECRET_KEY": SECRET,
        "PVE402_PUBLIC_URL": "http://127.0.0.1:4021",
        "PVE402_INSTANCE": "chaos",
        "PVE402_SNAPSHOTS": "2",
        "PVE402_FORKS": "3",
        "PVE402_GRACE_HOURS": str(8 / 3600),
        "PVE402_MAX_UNSETTLED_PER_ADDRESS": "100000",
        "PVE402_CREATE_WAIT_SECONDS": "15",
        "PVE402_LOG_FORMAT": "json",
        "PVE402_LOG_LEVEL": "info",
    }
