"""The whole life of one lease on this machine, with every step shown and checked.

The tenant pays with the official x402 client; the answers are compared with the chain and with
Proxmox VE. The exit code is 0 only if every step succeeded.
"""

import asyncio
import base64
import contextlib
import json
import signal
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import aiohttp
import ending
import outside
import stage
import typer
from eth_account import Account
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pve402 import client, schemas

_WALLET_USDC: Final = 5_000_000
_STOP_LIMIT_SECONDS: Final = 90.0
_FAILURES: Final = (client.ClientError, stage.StageFailed, aiohttp.ClientError, RuntimeError)


class DemoFailed(RuntimeError):
    """A step failed."""


def demo(
    *,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Keep everything running until Ctrl-C, and show the addresses."
        ),
    ] = False,
) -> None:
    """Run one lease on this machine from quote to expiry."""
    console = Console(highlight=False)
    try:
        asyncio.run(_play(console, keep=keep))
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            console.print("interrupted; everything was ended")
        raise typer.Exit(130) from None
    except _FAILURES as error:
        console.print(f"\n[bold red]The demo failed:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None


async def _play(console: Console, *, keep: bool) -> None:
    started = time.monotonic()
    _end_on_signals()
    console.rule("a lease, from quote to expiry")
    async with (
        stage.open_stage(lambda words: console.print(f"  {words}")) as scene,
        aiohttp.ClientSession() as session,
    ):
        chain_and_machines = outside.Outside(session=session, settings=scene.settings)
        play = Play(console, scene, chain_and_machines)
        await play.all_steps()
        console.rule(f"all of it happened, in {time.monotonic() - started:.0f} s")
        if keep:
            await play.keep()


def _end_on_signals() -> None:
    """Clean up after Ctrl-C and the like; a second one does not interrupt that."""
    playing, loop = asyncio.current_task(), asyncio.get_running_loop()
    asked_to_end = False

    def end(*_: object) -> None:
        nonlocal asked_to_end
        if playing is not None and not asked_to_end:
            loop.call_soon_threadsafe(playing.cancel)
        asked_to_end = True

    # Not the event loop's handlers: these stay in place until the process ends.
    for number in ending.SIGNALS:
        signal.signal(number, end)


class Play:
    """The steps, in order, and what they share."""

    def __init__(self, console: Console, scene: stage.Stage, world: outside.Outside) -> None:
        self._console = console
        self._scene = scene
        self._world = world
        self._wallet: Any = Account.create()
        self._step = 0
        self._paid_atomic = 0
        self._key = "0x" + self._wallet.key.hex().removeprefix("0x")
        self._tenant = client.Client(scene.url, key=self._key)

    async def all_steps(self) -> None:
        """Run the whole life of a lease. Raises DemoFailed if an answer does not hold."""
        await self._fund()
        earned_before = await self._world.usdc(self._world.pay_to)
        async with self._tenant:
            await self._quote_and_402()
            short = await self._lease("brief", minutes=1)
            long = await self._lease("demo-server", minutes=30)
            await self._running(long.ctid)
            await self._renew(long)
            await self._list({short.lease_id, long.lease_id})
            await self._expire(short)
        earned = await self._world.usdc(self._world.pay_to) - earned_before
        self._check(earned == self._paid_atomic, f"the operator earned {outside.dollars(earned)}")

    async def _fund(self) -> None:
        self._title("A wallet for the tenant")
        await self._world.rpc("devnet_mintUsdc", self._wallet.address, hex(_WALLET_USDC))
        owned = await self._world.usdc(self._wallet.address)
        self._check(owned == _WALLET_USDC, f"{self._wallet.address} owns {outside.dollars(owned)}")

    async def _quote_and_402(self) -> None:
        self._title("What does it cost?")
        wish = _wish("demo-server", 30)
        priced = await self._tenant.quote(wish)
        offer = priced.accepts[0]
        self._say(
            f"quote: {wish.cores} core, {wish.memory_mb} MiB, {wish.disk_gb} GiB for "
            f"{wish.runtime_minutes} minutes: {outside.dollars(offer.amount)} on {offer.network}"
        )
        document = wish.model_dump(by_alias=True, exclude_none=True)
        reply = await self._tenant.send("POST", "/lease/container", document)
        terms = json.loads(base64.b64decode(reply.headers["PAYMENT-REQUIRED"]))
        v1, v2 = json.loads(reply.body)["accepts"][0], terms["accepts"][0]
        self._check(reply.status == 402, f"without a payment: HTTP {reply.status}")
        self._check(
            offer.amount == v1["maxAmountRequired"] == v2["amount"],
            f"x402 v1 body and v2 header ask for the same {v2['amount']} atomic units, "
            f"to {v2['payTo']}",
        )

    async def _lease(self, hostname: str, *, minutes: int) -> schemas.LeaseAnswer:
        self._title(f"Lease {hostname!r} for {minutes} min")
        began = time.monotonic()
        bought = await self._tenant.lease(_wish(hostname, minutes))
        self._say(
            f"paid and running after {time.monotonic() - began:.1f} s: ctid {bought.answer.ctid}"
        )
        await self._settled(bought)
        return bought.answer

    async def _settled(self, bought: client.Bought[schemas.LeaseAnswer]) -> None:
        """Compare the receipt with the chain."""
        receipt, answer = bought.receipt, bought.answer
        if receipt is None or not receipt.success:
            raise DemoFailed("the answer carries no receipt")
        self._paid_atomic += int(answer.amount)
        on_chain = await self._world.transfer_succeeded(receipt.transaction)
        self._check(on_chain, f"{outside.dollars(answer.amount)} in {receipt.transaction}")
        owned = await self._world.usdc(self._wallet.address)
        left = _WALLET_USDC - self._paid_atomic
        self._check(owned == left, f"the tenant has {outside.dollars(owned)} left")

    async def _running(self, ctid: str | None) -> None:
        self._title("Is it there? Proxmox VE says")
        guest = await self._world.guest(ctid or "")
        self._check(
            guest["status"] == "running",
            f"CT {ctid} {guest.get('name', '')} is {guest['status']}, "
            f"{guest.get('cpus')} core, {int(guest.get('maxmem', 0)) // 2**20} MiB",
        )

    async def _list(self, expected: set[str]) -> None:
        self._title("The tenant's leases")
        token = await self._tenant.log_in()
        self._say(f"signed in as {token.owner}, without an account")
        items = await self._listed_running()
        table = Table("leaseId", "ctid", "status", "guest", "until", "hostname", box=None)
        for item in items:
            until = f"{item.expires_at:%H:%M:%S}" if item.expires_at else ""
            guest = item.vm_status.status
            table.add_row(item.lease_id, item.ctid, item.status, guest, until, item.hostname)
        self._console.print(table)
        self._check(
            {item.lease_id for item in items} == expected,
            "both leases are listed, their states by one call to Proxmox VE",
        )

    async def _listed_running(self) -> list[schemas.LeaseItem]:
        """Return the list once Proxmox VE shows the newest guest, which takes up to ten seconds."""
        for _attempt in range(30):
            items = await self._tenant.leases()
            if all(item.vm_status.status == "running" for item in items):
                break
            await asyncio.sleep(0.5)
        return items

    async def _renew(self, lease: schemas.LeaseAnswer) -> None:
        self._title(f"Renew {lease.hostname!r} by 30 min")
        bought = await self._tenant.renew(lease.lease_id, 30)
        before, after = lease.expires_at, bought.answer.expires_at
        if before is None or after is None:
            raise DemoFailed("a lease without an end")
        added = (after - before).total_seconds() / 60
        self._check(added == 30, f"from {before:%H:%M:%S} to {after:%H:%M:%S} UTC")
        await self._settled(bought)

    async def _expire(self, lease: schemas.LeaseAnswer) -> None:
        self._title(f"Watch {lease.hostname!r} expire and stop")
        if lease.expires_at is None or lease.ctid is None:
            raise DemoFailed("a lease without an end")
        await self._wait_for(lease.expires_at)
        give_up_at = time.monotonic() + _STOP_LIMIT_SECONDS
        while (await self._world.guest(lease.ctid))["status"] != "stopped":
            self._scene.check()
            if time.monotonic() > give_up_at:
                raise DemoFailed(f"CT {lease.ctid} still runs")
            await asyncio.sleep(0.5)
        late = (datetime.now(UTC) - lease.expires_at).total_seconds()
        self._check(late >= 0, f"CT {lease.ctid} is stopped, {late:.1f} s after the lease's end")
        shown = await self._stopped(lease.lease_id)
        self._check(
            shown.status == "stopped",
            f"the lease is {shown.status}; a renewal until {shown.deletes_at:%Y-%m-%d %H:%M} UTC "
            "would bring it back",
        )

    async def _stopped(self, lease_id: str) -> schemas.LeaseItem:
        """Return the lease once its stop is recorded, which happens after the stop itself."""
        for _attempt in range(40):
            shown = await self._tenant.show(lease_id)
            if shown.status == "stopped":
                break
            await asyncio.sleep(0.5)
        return shown

    async def _wait_for(self, end: datetime) -> None:
        seconds = max(0.0, (end - datetime.now(UTC)).total_seconds())
        columns = (TextColumn("  time left"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=seconds)
            while (left := (end - datetime.now(UTC)).total_seconds()) > 0:
                self._scene.check()
                progress.update(task, completed=seconds - left)
                await asyncio.sleep(min(0.5, left))

    async def keep(self) -> None:
        """Keep everything running until Ctrl-C."""
        addresses = {
            "service": self._scene.url,
            "Proxmox VE": self._world.pve_url,
            "chain": self._world.rpc_url,
            "settings": str(self._scene.folder / "devnet.env"),
            "wallet key": self._key,
        }
        for name, value in addresses.items():
            self._console.print(f"  {name:<11} {value}", soft_wrap=True)
        self._console.print("Ctrl-C ends it all.")
        while True:
            self._scene.check()
            await asyncio.sleep(1)

    def _title(self, words: str) -> None:
        self._step += 1
        self._console.print(f"\n[bold]{self._step}. {words}[/]")

    def _say(self, words: str) -> None:
        self._console.print(f"  {words}", soft_wrap=True)

    def _check(self, holds: bool, words: str) -> None:
        if not holds:
            raise DemoFailed(f"this does not hold: {words}")
        self._console.print(f"  [green]\N{CHECK MARK}[/] {words}", soft_wrap=True)


def _wish(hostname: str, minutes: int) -> schemas.LeaseRequest:
    return schemas.LeaseRequest(
        sku="standard-lxc",
        runtime_minutes=minutes,
        hostname=hostname,
        cores=1,
        memory_mb=256,
        disk_gb=4,
        password="demo-root-password",  # noqa: S106 -- of a container that lives for a minute
    )
