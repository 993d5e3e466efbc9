"""A simulated Proxmox over real sockets, and a plain client for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from pve402_devnet.pve import Progress, SimulatedProxmox, SimulatorOptions, runtime, tasks

TEMPLATE = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status line and data of an answer."""

    status: int
    reason: str
    data: Any = None
    body: Any = None


@dataclass(kw_only=True)
class Client:
    """Calls of the simulated API with its first token."""

    proxmox: SimulatedProxmox
    http: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, /, **params: Any) -> Answer:
        """Make one call; parameters go where the method wants them."""
        where = "params" if method in ("GET", "DELETE") else "data"
        url = f"{self.proxmox.base_url}/api2/json{path}"
        request: Any = {where: params}
        async with self.http.request(method, url, headers=self.headers, **request) as response:
            is_json = response.content_type == "application/json"
            body = await response.json() if is_json else await response.text()
            data = body.get("data") if is_json else None
            return Answer(
                status=response.status, reason=response.reason or "", data=data, body=body
            )

    async def run(self, method: str, path: str, **params: Any) -> tasks.Task:
        """Make a call that starts a task and wait for its end."""
        answer = await self.call(method, path, **params)
        assert answer.status == 200, answer
        task = self.proxmox.world.tasks.require(answer.data)
        async with asyncio.timeout(20):
            await task.ended.wait()
        return task

    async def create(self, vmid: int, node: str = "pve", **params: Any) -> tasks.Task:
        """Create a small guest."""
        fields = {"vmid": vmid, "ostemplate": TEMPLATE, "rootfs": "local:1", **params}
        return await self.run("POST", f"/nodes/{node}/lxc", **fields)

    async def order(self, path: str, **order: Any) -> Any:
        """Speak to the control endpoint."""
        url = self.proxmox.control_url + path
        async with self.http.post(url, json=order) as response:
            assert response.status == 200, await response.text()
            return await response.json()


MakeClient = Callable[..., Awaitable[Client]]


@pytest.fixture
async def make_client() -> AsyncIterator[MakeClient]:
    """Start a simulator with the options given; without delays unless told otherwise."""
    started: list[tuple[SimulatedProxmox, aiohttp.ClientSession]] = []

    async def make(guest_runtime: runtime.GuestRuntime | None = None, **options: Any) -> Client:
        chosen = {
            "progress": Progress.IMMEDIATELY,
            "auth_failure_seconds": 0.0,
            "control_port": 0,
            **options,
        }
        proxmox = SimulatedProxmox(SimulatorOptions(**chosen), guest_runtime=guest_runtime)
        await proxmox.start()
        tls = proxmox.client_tls() if chosen.get("tls") else False
        http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))
        started.append((proxmox, http))
        return Client(proxmox=proxmox, http=http, headers=proxmox.authorization())

    yield make
    for proxmox, http in started:
        await http.close()
        await proxmox.stop()


@pytest.fixture
async def client(make_client: MakeClient) -> Client:
    return await make_client()
