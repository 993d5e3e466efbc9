"""What outlives every crash, in one process: simulated Proxmox, chain, facilitator.

Writes one line of JSON with the addresses when all of it answers, and ends with its input.
"""

import asyncio
import functools
import json
import re
import secrets
import sys
import time
from typing import Any

import structlog
from aiohttp import web
from eth_abi.abi import decode
from eth_account import Account
from tests.support import awkward
from tests.support.token import call_data

from pve402_devnet.chain import ChainOptions, SimulatedChain, contracts
from pve402_devnet.facilitator import FacilitatorOptions, SimulatedFacilitator
from pve402_devnet.pve import SimulatedProxmox, cluster, config, options

NODES = ("pve1", "pve2", "pve3")
_BLOCK_SECONDS = 0.3
_HUGE = 1 << 44
_LEAST_AGE_SECONDS = 5.0
_STRANGER = "0x" + "57" * 20


async def run(latency_scale: float) -> None:
    """Run until the standard input ends."""
    async with (
        SimulatedChain(ChainOptions(block_interval_seconds=_BLOCK_SECONDS)) as chain,
        SimulatedProxmox(_cluster(latency_scale)) as proxmox,
    ):
        gas = Account.from_key(secrets.token_bytes(32))
        chain.fund(gas.address, eth=1_000)
        chosen = FacilitatorOptions(
            call_node=chain.rpc,
            private_key=gas.key.hex(),
            wallet_factories=(contracts.WALLET_FACTORY_ADDRESS,),
        )
        async with SimulatedFacilitator(chosen) as facilitator, _Hand(chain, proxmox) as hand:
            addresses = {
                "proxmox": proxmox.base_url,
                "token_id": proxmox.token_id,
                "token_secret": proxmox.token_secret,
                "control": proxmox.control_url,
                "rpc": chain.url,
                "facilitator": facilitator.url,
                "hand": hand.url,
            }
            print(json.dumps(addresses), flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _cluster(latency_scale: float) -> options.SimulatorOptions:
    """Three roomy machines; the scale is of the times that a real one takes."""
    return options.SimulatorOptions(
        control_port=0,
        nodes=tuple(
            options.NodeOptions(name=name, cpus=10_000, memory_bytes=_HUGE) for name in NODES
        ),
        storages=(
            options.StorageOptions(type="btrfs", total_bytes=_HUGE, used_bytes=0, snapshots=True),
        ),
        latency_scale=latency_scale,
        publish_interval_seconds=0.5,
        proxy_timeout_seconds=5.0,
        auth_failure_seconds=0.0,
    )


class _Guests(dict[int, cluster.Guest]):
    """Guests by vmid; notes when a vmid is without the guest that it had."""

    def __init__(self) -> None:
        super().__init__()
        self.absences: list[dict[str, Any]] = []

    def __setitem__(self, vmid: int, guest: cluster.Guest) -> None:
        super().__setitem__(vmid, guest)
        for one in self.absences:
            if one["vmid"] == vmid and one["ended"] is None:
                one["ended"] = time.time()

    def pop(self, vmid: int, *default: Any) -> Any:
        """Remove a guest."""
        if vmid in self:
            self.absences.append({"vmid": vmid, "began": time.time(), "ended": None})
        return super().pop(vmid, *default)


class _Hand:
    """Does what strangers to the service do: tenants' own transactions, an operator's looks."""

    def __init__(self, chain: SimulatedChain, proxmox: SimulatedProxmox) -> None:
        self._chain = chain
        self._proxmox = proxmox
        self._runs: list[dict[str, Any]] = []
        self._keyed: dict[int, str] = {}  # whose secrets guests were given, in their shells
        proxmox.world.guests = self._known = _Guests()
        self._note_runs(proxmox.world)
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/transact", self._transact)
        app.router.add_post("/wallets", self._make_wallet)
        app.router.add_get("/runs", self._show_runs)
        app.router.add_get("/guests", self._guests)
        app.router.add_post("/guests", self._plant)
        app.router.add_get("/stored", self._show_stored)
        app.router.add_post("/keyed", self._note_keyed)
        app.router.add_delete("/locked", self._clear_locked)
        self._runner = web.AppRunner(app, access_log=None)
        self.url = ""

    async def __aenter__(self) -> "_Hand":
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _transact(self, request: web.Request) -> web.Response:
        """Run a transaction that needs no key of its own; 409 if the contract refuses it."""
        body = await request.json()
        chain = self._chain.chain
        try:
            with chain.lock:  # the facilitator works on it in threads of its own
                chain.act(
                    sender=_STRANGER,
                    to=contracts.USDC_ADDRESS.lower(),
                    data=bytes.fromhex(body["data"]),
                )
        except Exception as error:  # noqa: BLE001 - whatever the contract said
            raise web.HTTPConflict(text=str(error)) from None
        return web.json_response({})

    async def _make_wallet(self, request: web.Request) -> web.Response:
        """Deploy a contract wallet of some manner for an owner."""
        wish = await request.json()
        settings = (wish["owner"], wish["manner"], wish["limit"], secrets.token_bytes(32))
        question = {
            "to": contracts.AWKWARD_FACTORY_ADDRESS,
            "data": "0x" + call_data(f"walletAddress({awkward.SETTINGS})", settings).hex(),
        }
        answer = self._chain.rpc("eth_call", question, "latest")
        with self._chain.chain.lock:
            self._chain.chain.act(
                sender=_STRANGER,
                to=contracts.AWKWARD_FACTORY_ADDRESS.lower(),
                data=call_data(f"createWallet({awkward.SETTINGS})", settings),
            )
        wallet = str(decode(["address"], bytes.fromhex(answer[2:]))[0])
        return web.json_response({"address": wallet.lower()})

    def _note_runs(self, world: cluster.Cluster) -> None:
        """Have the world tell of every start and stop of a guest."""
        honest_start, honest_stop = world.mark_started, world.mark_stopped

        @functools.wraps(honest_start)
        def mark_started(guest: cluster.Guest) -> None:
            honest_start(guest)
            head = self._chain.chain.head.number
            began = {"vmid": guest.vmid, "tags": guest.config.text("tags"), "head": head}
            times = {"began": time.time(), "ended": None}
            started: dict[str, Any] = {"shape": _shape(guest), "card": guest.config.text("net0")}
            started["size"] = _size(guest)
            started["program"] = guest.image and guest.config.text("entrypoint")
            self._runs.append({**began, **started, **times})

        @functools.wraps(honest_stop)
        def mark_stopped(guest: cluster.Guest) -> None:
            honest_stop(guest)
            for run in self._runs:
                if run["vmid"] == guest.vmid and run["ended"] is None:
                    run["ended"] = time.time()

        world.mark_started = mark_started  # type: ignore[method-assign]
        world.mark_stopped = mark_stopped  # type: ignore[method-assign]

    async def _show_runs(self, _: web.Request) -> web.Response:
        """Show every time in which a guest ran or a vmid had none, and what time it is now."""
        absences = self._known.absences
        return web.json_response({"now": time.time(), "runs": self._runs, "absences": absences})

    async def _show_stored(self, _: web.Request) -> web.Response:
        """Show every volume with its owner, and every file of an image that was pulled."""
        stores = list(self._proxmox.world.storages)
        volumes = {f"{s.name}:{one.name}": one.owner for s in stores for one in s.volumes.values()}
        pulled = [
            f"{s.name}:vztmpl/{one.name}"
            for s in stores
            for one in s.templates.values()
            if one.image
        ]
        return web.json_response({"volumes": volumes, "files": pulled})

    async def _note_keyed(self, request: web.Request) -> web.Response:
        """Note that a guest was given its tenant's secrets."""
        told = await request.json()
        self._keyed[told["vmid"]] = told["lease"]
        return web.json_response({})

    async def _guests(self, _: web.Request) -> web.Response:
        """Show every guest as its node knows it, now and not as of the last publication."""
        world = self._proxmox.world
        shown = [
            {
                "vmid": guest.vmid,
                "tags": guest.config.text("tags"),
                "lock": guest.config.text("lock"),
                "description": guest.config.text("description"),
                "running": guest.pid is not None,
                "snapshots": sorted(guest.config.snapshots),
                "size": _size(guest),
                "template": bool(guest.config.options.get("template")),
                "volumes": [one["volume"] for one in guest.config.volumes().values()],
                "keyed": self._keyed.get(guest.vmid),
            }
            for guest in world.guests.values()
        ]
        return web.json_response(shown)

    async def _plant(self, request: web.Request) -> web.Response:
        """Put running guests there, without the work of making them."""
        world = self._proxmox.world
        for wanted in await request.json():
            settings = {"tags": wanted["tags"], "hostname": "planted", "memory": "128"}
            guest = cluster.Guest(
                vmid=wanted["vmid"],
                node=wanted["node"],
                config=config.GuestConfig(options=settings),
                created_at=world.clock.now(),
            )
            world.guests[guest.vmid] = guest
            await world.runtime.start(guest.vmid, cluster.guest_spec(guest))
            world.mark_started(guest)
        return web.json_response({})

    async def _clear_locked(self, _: web.Request) -> web.Response:
        """Remove what no task makes any more, some time after it was begun."""
        world = self._proxmox.world
        made_before = world.clock.now() - _LEAST_AGE_SECONDS
        for vmid, guest in list(world.guests.items()):
            is_locked = guest.config.text("lock") == "create"
            is_made = bool(world.tasks.running("vzcreate", str(vmid)))
            if is_locked and not is_made and guest.created_at < made_before:
                world.guests.pop(vmid)
                world.storages.free_all_of(vmid)
        return web.json_response({})


def _size(guest: cluster.Guest) -> list[int]:
    """Cores, MiB of memory, and GiB of disk; 0 for what it does not say."""
    texts = [guest.config.text(name) for name in ("cores", "memory")]
    disk = re.search(r"size=(\d+)G", guest.config.text("rootfs"))
    return [*(int(text or 0) for text in texts), int(disk[1]) if disk else 0]


def _shape(guest: cluster.Guest) -> str:
    """What of a guest must be the same whenever it starts."""
    return ", ".join(guest.config.text(name) for name in ("cores", "memory", "rootfs", "net0"))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    sys.setrecursionlimit(1000)
    asyncio.run(run(float(sys.argv[1])))
