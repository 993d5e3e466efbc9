"""A quiet tenant: looks at the catalogue, leases a container now and then, runs small commands.

It comes from an address of its own and does nothing that could bother anybody. Beside it, a bare
call to the simulated world is timed: what that takes longer is the machine's doing, not ours.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from tests.support import payments, processes

ADDRESS = "127.0.0.2"
CATALOGUE, CREATION, COMMAND, WORLD = "GET /catalogue", "paid creation", "warm command", "the world"
OURS = (CATALOGUE, CREATION, COMMAND)
PAUSE_SECONDS = {CATALOGUE: 0.04, CREATION: 0.5, COMMAND: 0.06, WORLD: 0.06}
_BODY = {
    "sku": "standard-lxc",
    "runtimeMinutes": 60,
    "hostname": "quiet",
    "cores": 1,
    "memoryMB": 128,
    "diskGB": 1,
    "password": "correct horse",
}
_RICH_ATOMIC = 10**12


@dataclasses.dataclass(kw_only=True)
class Seen:
    """How long each kind of call took, in seconds, and what was not answered well."""

    seconds: dict[str, list[float]] = dataclasses.field(
        default_factory=lambda: {what: [] for what in PAUSE_SECONDS}
    )
    refused: Counter[str] = dataclasses.field(default_factory=Counter)

    def quantile(self, what: str, part: float) -> float:
        """The time, in seconds, within which that part of the calls was answered."""
        ordered = sorted(self.seconds[what])
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class QuietTenant:
    """One tenant with a wallet and a container that stays."""

    def __init__(self, service: processes.ServeProcess, session: aiohttp.ClientSession) -> None:
        self._url = service.url
        self._session = session
        self._devnet = service.devnet
        self._key = service.devnet.wallet(_RICH_ATOMIC)
        self._accepted: dict[str, Any] = {}
        self._home: dict[str, Any] = {}

    async def move_in(self) -> None:
        """Lease the container in which commands run, and run the first."""
        async with self._session.post(f"{self._url}/lease/container", json=_BODY) as unpaid:
            self._accepted = (await unpaid.json())["accepts"][0]
        self._home = await self._lease()
        await self._command()

    async def watch(self, seconds: float) -> Seen:
        """Do everything for a while, each kind of call again and again after a pause."""
        seen, until = Seen(), time.monotonic() + seconds
        calls: dict[str, Callable[[], Awaitable[None]]] = {
            CATALOGUE: self._catalogue,
            CREATION: self._lease_and_end,
            COMMAND: self._command,
            WORLD: self._ask_world,
        }
        await asyncio.gather(*(self._repeat(seen, what, calls[what], until) for what in calls))
        return seen

    async def _repeat(
        self, seen: Seen, what: str, call: Callable[[], Awaitable[None]], until: float
    ) -> None:
        for _ in itertools.takewhile(lambda _: time.monotonic() < until, itertools.count()):
            began = time.perf_counter()
            try:
                await call()
            except Refused as refusal:
                seen.refused[f"{what}: {refusal}"] += 1
            seen.seconds[what].append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE_SECONDS[what])

    async def _catalogue(self) -> None:
        async with self._session.get(f"{self._url}/catalogue") as answer:
            await _checked(answer, 200)

    async def _command(self) -> None:
        said = await self._ask("POST", f"/management/exec/{self._home['ctid']}", command="echo hi")
        if said["stdout"] != "hi\n":
            raise Refused(f"a command said {said['stdout']!r}")

    async def _lease_and_end(self) -> None:
        bought = await self._lease()
        await self._ask("DELETE", f"/lease/{bought['leaseId']}", bought)

    async def _lease(self) -> dict[str, Any]:
        terms = payments.requirements(
            amount_atomic=int(self._accepted["maxAmountRequired"]),
            pay_to=self._accepted["payTo"].lower(),
            max_timeout_seconds=self._accepted["maxTimeoutSeconds"],
        )
        until = int(time.time()) + self._accepted["maxTimeoutSeconds"]
        paid = payments.payment(version=1, key=self._key, terms=terms, valid_before=until)
        headers = {"X-PAYMENT": payments.encode(payments.document(paid, terms))}
        url = f"{self._url}/lease/container"
        async with self._session.post(url, json=_BODY, headers=headers) as answer:
            return await _checked(answer, 200)

    async def _ask_world(self) -> None:
        settings = self._devnet.settings
        token = f"{settings['PVE_TOKEN_ID']}={settings['PVE_TOKEN_SECRET']}"
        headers = {"Authorization": f"PVEAPIToken={token}"}
        url = f"{settings['PVE_HOST']}/api2/json/version"
        async with self._session.get(url, headers=headers) as answer:
            await _checked(answer, 200)

    async def _ask(
        self, method: str, path: str, lease: dict[str, Any] | None = None, **body: Any
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {(lease or self._home)['accessToken']}"}
        asking = self._session.request(method, self._url + path, json=body or None, headers=headers)
        async with asking as answer:
            return await _checked(answer, 202 if method == "DELETE" else 200)


class Refused(Exception):
    """The service did not do what a quiet tenant may expect."""


async def _checked(answer: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    body = await answer.read()
    if answer.status != status:
        raise Refused(f"{answer.status} {body[:100].decode('utf-8', 'replace')}")
    found: dict[str, Any] = await answer.json()
    return found


@contextlib.asynccontextmanager
async def living(service: processes.ServeProcess) -> AsyncIterator[QuietTenant]:
    """A quiet tenant that has its container."""
    own_address = aiohttp.TCPConnector(limit=0, local_addr=(ADDRESS, 0))
    patience = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=own_address, timeout=patience) as session:
        tenant = QuietTenant(service, session)
        await tenant.move_in()
        yield tenant
