"""Sends recorded exchanges to a simulated Proxmox VE, in an order and a state like the recorded."""

import asyncio
import json
import re
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yarl
from devnet.tests.support import pve_rig
from tests.support import recordings

from pve402_devnet.pve import SimulatedProxmox, clock, config, lifecycle, tasks

TOKENS = {"token": "svc@pve!test", "least": "lp@pve!tt", "noprivs": "svc@pve!nopriv"}
ROOT_TOKEN = "root@pam!rootnopriv"
TEMPLATE = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"
UPID = re.compile(r"UPID:\w+:[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:[^:]+:[^:]*:[^:]+:")
DIGEST = re.compile(r"[0-9a-f]{40}")
WRONG_PASSWORDS = ("ticket-bad-password", "lxc-create-short-password")
_STUCK_ROUNDS = 250  # of a millisecond: nobody who is asked sleeps, so a worker must end first


@dataclass(kw_only=True)
class Answer:
    """What the simulator answered; no status where the connection was closed without one."""

    status: int | None = None
    reason: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None


class Replay:
    """One run through the recordings against one simulator."""

    def __init__(self, proxmox: SimulatedProxmox, http: aiohttp.ClientSession) -> None:
        self.proxmox = proxmox
        self.world = proxmox.world
        self._http = http
        self.recorded_to_ours: dict[str, str] = {}
        self.console: dict[str, str] = {}
        self._login: dict[str, str] = {}
        self._websockets: list[aiohttp.ClientResponse] = []
        self._unwatched: list[asyncio.Task[Answer]] = []

    # -- sending ------------------------------------------------------------------------------

    async def send(self, document: dict[str, Any]) -> Answer:
        """Send one recorded request and tick until its answer is there."""
        return (await self.send_together([document]))[0]

    async def send_together(self, documents: list[dict[str, Any]]) -> list[Answer]:
        """Send requests on connections of their own, so that all are under way at once."""
        requests = [asyncio.create_task(self._exchange(d)) for d in documents]
        if len(requests) > 1:
            await asyncio.sleep(0.05)
        answers = await self.until(asyncio.gather(*requests))
        for document, answer in zip(documents, answers, strict=True):
            self.learn(document, answer)
        return list(answers)

    async def start_sending(self, document: dict[str, Any]) -> "asyncio.Task[Answer]":
        """Send a request that will wait, and go on without its answer."""
        request = asyncio.create_task(self._exchange(document))
        await asyncio.sleep(0.05)
        await self.proxmox.tick(0.1)
        return request

    async def until(self, future: Awaitable[Any]) -> Any:
        """Tick, no more than needed, until something is done."""
        waiting = asyncio.ensure_future(future)
        idle_rounds = 0
        while not waiting.done():
            stuck = idle_rounds > _STUCK_ROUNDS
            seconds = self._clock.seconds_to_next(foreground_only=not stuck)
            idle_rounds = idle_rounds + 1 if seconds is None else 0
            if seconds is not None:
                await self._clock.tick(seconds)
            await asyncio.sleep(0.001)
        return waiting.result()

    async def call(self, method: str, path: str, auth: str = "token", **params: Any) -> Answer:
        """Send a request of our own, to set up a state."""
        document = {
            "request": {
                "method": method,
                "path": f"/api2/json{path}",
                "params": params,
                "params_in": "body" if method in ("POST", "PUT") else "query",
                "auth": auth,
                "password_is_wrong": False,
            },
            "response": {"body": None},
        }
        answer = await self.send(document)
        assert answer.status == 200, (method, path, answer)
        return answer

    async def start_calling(self, method: str, path: str, **params: Any) -> None:
        """Send a request of our own that will wait; its answer is of no interest."""
        document = {
            "request": {
                "method": method,
                "path": f"/api2/json{path}",
                "params": params,
                "params_in": "body",
                "auth": "token",
                "password_is_wrong": False,
            }
        }
        self._unwatched.append(await self.start_sending(document))

    async def run_task(self, method: str, path: str, auth: str = "token", **params: Any) -> str:
        """Send a request that starts a task, and tick until the task has ended."""
        upid = (await self.call(method, path, auth, **params)).body["data"]
        await self.wait_for_task(upid)
        return upid

    async def wait_for_task(self, upid: str) -> tasks.Task:
        """Tick until a task has ended."""
        task = self.world.tasks.require(upid)
        for _ in range(10_000):
            if not task.running:
                break
            await self._clock.tick(self._clock.seconds_to_next() or 0.05)
        assert not task.running, upid
        return task

    async def _exchange(self, document: dict[str, Any]) -> Answer:
        request = document["request"]
        url, body = self._address(request)
        try:
            response = await self._http.request(
                request["method"],
                yarl.URL(url, encoded=True),
                data=body,
                headers=self._headers(request),
                skip_auto_headers=("Content-Type", "Accept-Encoding", "User-Agent"),
                allow_redirects=False,
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return Answer()
        return await self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        answer = Answer(
            status=response.status, reason=response.reason, headers=dict(response.headers)
        )
        if response.status == 101:
            self._websockets.append(response)
            return answer
        text = await response.text()
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        answer.body = json.loads(text) if is_json else text
        return answer

    def close_websockets(self) -> None:
        """Leave every websocket that was opened."""
        for response in self._websockets:
            response.close()
        self._websockets.clear()

    def _address(self, request: dict[str, Any]) -> tuple[str, bytes | None]:
        path = self._path(request["path"])
        fields = self._fields(request)
        if "raw_body" in request:
            return self.proxmox.base_url + path, request["raw_body"].encode()
        if request.get("body_type") == "application/json":
            return self.proxmox.base_url + path, json.dumps(dict(fields)).encode()
        encoded = urllib.parse.urlencode(fields)
        if request["params_in"] == "query":
            return self.proxmox.base_url + path + ("?" + encoded if encoded else ""), None
        return self.proxmox.base_url + path, encoded.encode() if encoded else None

    def _path(self, path: str) -> str:
        unquoted = urllib.parse.unquote(path)
        match = UPID.search(unquoted)
        if match is None or match[0] not in self.recorded_to_ours:
            return path
        ours = self.recorded_to_ours[match[0]]
        quoted = ours if ":" in path else urllib.parse.quote(ours, safe="")
        recorded = match[0] if ":" in path else urllib.parse.quote(match[0], safe="")
        return path.replace(recorded, quoted)

    def _fields(self, request: dict[str, Any]) -> list[tuple[str, Any]]:
        params = request["params"] or {}
        pairs = params if isinstance(params, list) else list(params.items())
        return [(name, self._value(request, name, value)) for name, value in pairs]

    def _value(self, request: dict[str, Any], name: str, value: Any) -> Any:
        if name == "password":
            return self._password(request)
        if name == "vncticket":
            return self.console.get("ticket", "") if value == "<secret>" else "PVEVNC:rubbish"
        if name == "port" and str(value) == self.console.get("recorded_port"):
            return self.console["port"]
        return self.recorded_to_ours.get(value, value) if name == "digest" else value

    def _password(self, request: dict[str, Any]) -> str:
        if request["password_is_wrong"]:
            return "four"
        return pve_rig.PASSWORD if request["path"].endswith("/ticket") else "long-enough"

    def _headers(self, request: dict[str, Any]) -> dict[str, str]:
        headers = {k: self._header(k, v) for k, v in request.get("headers", {}).items()}
        auth = request["auth"]
        if auth in TOKENS or auth == "root":
            headers |= self.proxmox.authorization(TOKENS.get(auth, ROOT_TOKEN))
        elif auth == "ticket":
            headers |= self._login
        if request.get("body_type"):
            headers["Content-Type"] = request["body_type"]
        elif request["params_in"] == "body" and request["params"]:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if headers.get("Upgrade") == "websocket":
            headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        return headers

    def _header(self, name: str, value: str) -> str:
        if name == "Cookie":
            return value.replace("<secret>", self._login["Cookie"].partition("=")[2])
        secret = self.proxmox.tokens[TOKENS["token"]]
        return value.replace("<secret>", secret).replace("<wrong uuid>", "0" * 36)

    # -- learning -----------------------------------------------------------------------------

    def learn(self, document: dict[str, Any], answer: Answer) -> None:
        """Remember which of our UPIDs, digests and ports stand for the recorded ones."""
        recorded, ours = document["response"]["body"], answer.body
        if not isinstance(recorded, dict) or not isinstance(ours, dict):
            return
        self._learn_value(recorded.get("data"), ours.get("data"))

    def _learn_value(self, recorded: Any, ours: Any) -> None:
        if isinstance(recorded, str) and isinstance(ours, str) and UPID.fullmatch(recorded):
            self.recorded_to_ours[recorded] = ours
        if not isinstance(recorded, dict) or not isinstance(ours, dict):
            return
        if "digest" in recorded and "digest" in ours:
            self.recorded_to_ours[recorded["digest"]] = ours["digest"]
        if "upid" in recorded and "upid" in ours:
            self.recorded_to_ours[recorded["upid"]] = ours["upid"]
        if "port" in recorded and "ticket" in ours:
            self.console = {**ours, "recorded_port": recorded["port"]}

    def map_task(self, recorded: str, ours: str) -> None:
        """Let one of our tasks stand for a recorded one."""
        assert UPID.fullmatch(recorded)
        self.recorded_to_ours[recorded] = ours

    def last_task(self, kind: str, vmid: int) -> str:
        """Name the newest task of a kind for a guest."""
        found = [t for t in self.world.tasks if (t.upid.type, t.upid.id) == (kind, str(vmid))]
        return str(found[-1].upid)

    async def log_in(self) -> None:
        """Get the ticket that the cookie tests use."""
        answer = await self.call(
            "POST", "/access/ticket", "none", username="svc@pve", password=pve_rig.PASSWORD
        )
        data = answer.body["data"]
        self._login = {
            "Cookie": f"PVEAuthCookie={urllib.parse.quote(data['ticket'])}",
            "CSRFPreventionToken": data["CSRFPreventionToken"],
        }

    # -- states -------------------------------------------------------------------------------

    @property
    def _clock(self) -> clock.TickClock:
        assert isinstance(self.world.clock, clock.TickClock)
        return self.world.clock

    async def tick(self, seconds: float) -> None:
        """Let time pass."""
        await self._clock.tick(seconds)

    async def settle(self) -> None:
        """Let sockets notice what was done, without time passing."""
        await asyncio.sleep(0.1)

    async def have(self, vmid: int, *, running: bool, **params: Any) -> None:
        """Make sure that a guest exists and is, or is not, running."""
        if vmid not in self.world.guests:
            await self.create(vmid, **params)
        if await self.world.is_running(vmid) == running:
            return
        verb = "start" if running else "stop"
        await self.run_task("POST", f"/nodes/pve/lxc/{vmid}/status/{verb}", "root")

    async def create(self, vmid: int, **params: Any) -> str:
        """Create a guest like most of the recorded ones; None drops a parameter."""
        common = {
            "vmid": vmid,
            "ostemplate": TEMPLATE,
            "rootfs": "local:1",
            "unprivileged": 1,
            "hostname": f"ct{vmid}",
            "memory": 128,
            "cores": 1,
            "net0": f"name=eth0,bridge=vmbr0,ip=10.99.0.{vmid}/24",
        }
        fields = {k: v for k, v in {**common, **params}.items() if v is not None}
        return await self.run_task("POST", "/nodes/pve/lxc", **fields)

    async def remove(self, *vmids: int) -> None:
        """Take guests away, whatever their state."""
        for vmid in vmids:
            guest = self.world.guests.get(vmid)
            if guest is not None:
                await self.world.runtime.stop(vmid)
                lifecycle.remove(self.world, guest)

    def edit(self, vmid: int, **values: config.Value | None) -> None:
        """Write to a guest's configuration as root on the node could."""
        conf = self.world.guests[vmid].config
        for name, value in values.items():
            if value is None:
                conf.options.pop(name, None)
            else:
                conf.put(name, value)

    async def prepare(self, given: str) -> None:
        """Bring about what a recording says of single guests."""
        for vmid in _vmids(r"VMIDs? (\d+)(?: to (\d+))? (?:is|are) free", given):
            await self.remove(vmid)
        for vmid in _vmids(r"^(\d+) (?:is|was) stopped", given):
            await self.have(vmid, running=False)
        for vmid in _vmids(r"^(\d+) is running", given):
            await self.have(vmid, running=True, cmode="shell")


def _vmids(pattern: str, given: str) -> Iterable[int]:
    match = re.search(pattern, given)
    if match is None:
        return ()
    first = int(match[1])
    last = int(match[2]) if match.re.groups > 1 and match[2] else first
    return range(first, last + 1)


Setup = Callable[[Replay], Awaitable[None]]


def load() -> list[dict[str, Any]]:
    """All recorded exchanges as they stand in the file."""
    lines = (recordings.DIRECTORY / "recordings.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    for document in documents:
        document["request"]["password_is_wrong"] = document["name"] in WRONG_PASSWORDS
    return documents
