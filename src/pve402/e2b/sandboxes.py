"""Sandboxes: leased, extended and ended for programs, and paid by the local wallet.

A sandbox's end is kept in seconds, as programs ask for it; time is bought in minutes, and no more
than is asked for. What is over is ended here, at the latest by `reap`. Every payment has an
idempotency key of its own, so that nothing is bought twice, and enters the spend ledger.
"""

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from pve402 import client, schemas
from pve402.client import threads
from pve402.e2b import guests, processes, records, refusals, renewals, secret, watching
from pve402.sdk import paying, wishes

DEFAULT_SECONDS: Final = 300
_MOST_SECONDS: Final = 30 * 24 * 3600
_LOOK_SECONDS: Final = 1.0
_NETWORK_SECONDS: Final = 20
_END_SECONDS: Final = 45.0
_SET_UP_TRIES: Final = 8
_SET_UP_PAUSE_SECONDS: Final = 1.5
#: Of a container that starts: its terminal is not there yet.
_NOT_YET: Final = (
    client.refusals.Conflict,
    client.refusals.ServiceFailed,
    client.refusals.TryLater,
    client.ServiceUnreachable,
)
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?(:\d{1,5})?")
#: What a sandbox's ports are called where the service has no domain for them: it leads nowhere.
NO_DOMAIN: Final = "sandbox.invalid"
_PROBED_PORT: Final = 49983
#: The code of a service that publishes no ports.
_PORTS_OFF: Final = "ports_off"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Template:
    """What is leased for a template of E2B's; None is the service's first or usual."""

    sku: str | None = None
    template: str | None = None
    cores: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A sandbox that a program asks for."""

    template: str
    timeout_seconds: int = DEFAULT_SECONDS
    metadata: dict[str, str] = field(default_factory=dict)
    envs: dict[str, str] = field(default_factory=dict, repr=False)
    idempotency_key: str | None = None


class Live:
    """What is kept in memory of a sandbox while the gateway runs."""

    def __init__(self, service: client.Client, sandbox_id: str) -> None:
        self.guest = guests.Guest(service, sandbox_id)
        self.processes = processes.Table(service, sandbox_id, self.guest)
        self.paying = asyncio.Lock()
        self.watchers: dict[str, watching.Watcher] = {}


class Sandboxes:
    """The sandboxes of one service."""

    def __init__(
        self,
        service: client.Client,
        key: str,
        *,
        templates: Mapping[str, Template],
        ports: tuple[int, ...] = (),
        kept: records.Records | None = None,
        held: client.held.Leases | None = None,
    ) -> None:
        self.key = key
        self.templates = templates
        self._domain: str | None = None
        self._service = service
        self._ports = ports
        self._records = kept or records.Records(service.url)
        self._held = held or client.held.Leases()
        self._renewals = renewals.Renewals(service, self._records)
        self._live: dict[str, Live] = {}
        self._making: dict[str, asyncio.Task[records.Sandbox]] = {}
        self._extending: set[asyncio.Task[records.Sandbox]] = set()
        self._ending: dict[str, asyncio.Task[None]] = {}

    def now(self) -> float:
        """The service's time, which its leases end by, in seconds since 1970."""
        return self._service.now().timestamp()

    async def make(self, wish: Wish) -> records.Sandbox:
        """Lease a container; calls with one idempotency key make one.

        Goes on if the caller is cancelled, since it is paid. Raises Refused, ClientError.
        """
        if wish.template not in self.templates:
            known = ", ".join(self.templates)
            told = f"template '{client.plain(wish.template, 64)}' not found; there is {known}"
            raise refusals.Refused("not_found", told)
        _check_seconds(wish.timeout_seconds)
        once = secret.order_of(self.key, wish.idempotency_key or secrets.token_urlsafe(24))
        if once not in self._making:
            task = asyncio.create_task(self._made(wish, once))
            self._making[once] = task
            task.add_done_callback(lambda _: self._making.pop(once, None))
        return await asyncio.shield(self._making[once])

    async def all(self) -> list[records.Sandbox]:
        """The sandboxes that run, the newest first."""
        now = self.now()
        return [one for one in await threads.run(self._records.all) if not one.is_over(now)]

    async def find(self, sandbox_id: str) -> records.Sandbox:
        """A sandbox that runs. Raises Gone."""
        for one in await self.all():
            if one.sandbox_id == sandbox_id:
                return one
        raise refusals.Gone(sandbox_id)

    async def live(self, sandbox_id: str) -> tuple[records.Sandbox, Live]:
        """A sandbox that runs, and its container. Raises Gone."""
        one = await self.find(sandbox_id)
        if sandbox_id not in self._live:
            self._live[sandbox_id] = Live(self._service, sandbox_id)
        return one, self._live[sandbox_id]

    async def domain(self, sandbox_id: str) -> str:
        """The domain of the names of published ports, which a private one of a sandbox tells."""
        if self._domain is None:
            try:
                shown = await self._published(sandbox_id, _PROBED_PORT, "private")
                self._learn(sandbox_id, _PROBED_PORT, shown)
                await client.ports.unpublish(self._service, sandbox_id, _PROBED_PORT)
            except client.ClientError as error:
                if isinstance(error, client.Refused) and error.code == _PORTS_OFF:
                    self._domain = NO_DOMAIN
        return self._domain or NO_DOMAIN

    async def set_timeout(
        self, sandbox_id: str, seconds: int, *, may_shorten: bool = True
    ) -> records.Sandbox:
        """Let a sandbox end in so many seconds, and pay for what is not paid yet.

        Goes on if the caller is cancelled, since it is paid. Raises Gone, Refused, ClientError.
        """
        _check_seconds(seconds)
        task = asyncio.create_task(self._extended(sandbox_id, seconds, may_shorten=may_shorten))
        self._extending.add(task)
        task.add_done_callback(self._extending.discard)
        return await asyncio.shield(task)

    async def _extended(
        self, sandbox_id: str, seconds: int, *, may_shorten: bool
    ) -> records.Sandbox:
        _, live = await self.live(sandbox_id)
        async with live.paying:
            one = await self.find(sandbox_id)
            ends_at = self.now() + seconds
            if not may_shorten:
                ends_at = max(ends_at, one.ends_at)
            if ends_at > one.paid_until:
                one = replace(one, paid_until=await self._renewals.bought(one, ends_at))
            one = replace(one, ends_at=min(ends_at, one.paid_until))
            facts = (one.sandbox_id, one.ends_at, one.paid_until)
            if not await threads.run(self._records.extend, *facts):
                raise refusals.Gone(sandbox_id)
            return one

    async def end(self, sandbox_id: str) -> None:
        """End a sandbox: at once for its programs, then at the service. Raises Gone."""
        one = await self.find(sandbox_id)
        await self._marked(one)
        with contextlib.suppress(TimeoutError):  # it goes on
            async with asyncio.timeout(_END_SECONDS):
                await asyncio.shield(self._end_later(one.sandbox_id))

    async def lost(self, sandbox_id: str) -> None:
        """The service says that the lease is over."""
        with contextlib.suppress(refusals.Gone):
            await self._marked(await self.find(sandbox_id))

    async def reap(self) -> None:
        """End what is over, for as long as the gateway runs, once the service's time is known."""
        is_known = False
        while True:
            is_known = is_known or await self._answers()
            if is_known:
                await self._end_what_is_over()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _end_what_is_over(self) -> None:
        try:
            now = self.now()
            for one in await threads.run(self._records.all):
                if one.is_over(now) and not self._is_busy(one):
                    await self._marked(one)
                    self._end_later(one.sandbox_id)
        except client.NotesUnusable as error:
            _log.warning("%s", error)

    def _is_busy(self, one: records.Sandbox) -> bool:
        """Whether it is being ended, or more time for it is being paid."""
        live = self._live.get(one.sandbox_id)
        is_paying = live is not None and live.paying.locked() and not one.is_ending
        return is_paying or one.sandbox_id in self._ending

    async def _answers(self) -> bool:
        try:
            await self._service.send("GET", "/healthz")
        except client.ClientError:
            return False
        return True

    async def close(self) -> None:
        """Wait for orders in progress: they are paid."""
        for task in [*self._making.values(), *self._extending, *self._ending.values()]:
            with contextlib.suppress(Exception):
                await task
        for live in self._live.values():
            await live.processes.close()

    # making

    async def _made(self, wish: Wish, once: str) -> records.Sandbox:
        for one in await self.all():
            if one.idempotency_key == once:
                return one
        chosen = self.templates[wish.template]
        order = await wishes.lease(
            self._service,
            None,
            once,
            sku=chosen.sku,
            runtime_minutes=renewals.minutes(wish.timeout_seconds),
            hostname=f"e2b-{once[4:16]}",
            cores=chosen.cores,
            memory_mb=chosen.memory_mb,
            disk_gb=chosen.disk_gb,
            template=chosen.template,
            password=secret.password_of(self.key, once),
            ssh_public_keys=[],
        )
        lease = await paying.settled(
            lambda so_far: self._service.lease(
                order, idempotency_key=once, on_progress=so_far.note
            ),
            once,
        )
        client.names.check_lease_id(lease.lease_id)
        one = _noted(lease, wish, once, self.now())
        await threads.run(self._records.keep, one)
        if (own := client.held.Held.of(lease, lease.access_token)) is not None:
            with contextlib.suppress(client.NotesUnusable):  # the wallet opens it, too
                await threads.run(self._held.keep, self._service.url, own)
        await self._prepared(one, lease)
        return one

    async def _prepared(self, one: records.Sandbox, lease: schemas.LeaseAnswer) -> None:
        """Make the user, wait for the network for a while, publish ports; or end it again."""
        _, live = await self.live(one.sandbox_id)
        try:
            await self._set_up(live.guest)
            if lease.network_status == "pending":
                await self._connected(one.sandbox_id)
            await self._publish(one.sandbox_id)
        except (client.ClientError, refusals.Refused):
            await self._marked(one)
            self._end_later(one.sandbox_id)
            raise

    async def _set_up(self, guest: guests.Guest) -> None:
        """Make the user, as soon as the new container takes commands."""
        for _ in range(_SET_UP_TRIES):
            try:
                await guest.set_up()
            except _NOT_YET:
                await asyncio.sleep(_SET_UP_PAUSE_SECONDS)
            else:
                return
        await guest.set_up()

    async def _connected(self, lease_id: str) -> None:
        for _ in range(_NETWORK_SECONDS):
            if (await self._service.show(lease_id)).network_status != "pending":
                return
            await asyncio.sleep(1)

    async def _publish(self, lease_id: str) -> None:
        """Publish the ports that every sandbox has; where none can be, it is kept all the same."""
        for port in self._ports:
            try:
                self._learn(lease_id, port, await self._published(lease_id, port, "public"))
            except client.Refused as refused:
                if refused.code != _PORTS_OFF:
                    raise
                _log.warning("port %d is not published: %s", port, refused)

    async def _published(self, lease_id: str, port: int, access: schemas.PortAccess) -> str:
        wish = schemas.PortRequest(port=port, access=access)
        return (await client.ports.publish(self._service, lease_id, wish)).url

    def _learn(self, lease_id: str, port: int, url: str) -> None:
        name, dot, domain = urlsplit(url).netloc.lower().partition(".")
        is_ours = dot and name == f"{port}-{lease_id}" and _HOST.fullmatch(domain)
        self._domain = domain if is_ours else NO_DOMAIN

    # extending and ending

    async def _marked(self, one: records.Sandbox) -> None:
        """Programs get no more answers from it, and its running streams are cut."""
        await threads.run(self._records.mark_ending, one.sandbox_id)
        live = self._live.pop(one.sandbox_id, None)
        if live is not None:
            await live.processes.cut()

    def _end_later(self, sandbox_id: str) -> asyncio.Task[None]:
        if sandbox_id not in self._ending:
            task = asyncio.create_task(self._end(sandbox_id))
            self._ending[sandbox_id] = task
            task.add_done_callback(lambda _: self._ending.pop(sandbox_id, None))
        return self._ending[sandbox_id]

    async def _end(self, sandbox_id: str) -> None:
        """End the lease; `reap` tries again if that fails."""
        try:
            await self._service.end(sandbox_id)
        except refusals.GONE:
            pass
        except client.ClientError as error:
            _log.warning("%s could not be ended: %s", sandbox_id, error)
            return
        await threads.run(self._records.forget, sandbox_id)
        with contextlib.suppress(client.NotesUnusable):
            await threads.run(self._held.forget, self._service.url, sandbox_id)


def _noted(lease: schemas.LeaseAnswer, wish: Wish, once: str, now: float) -> records.Sandbox:
    ends_at = now + wish.timeout_seconds
    return records.Sandbox(
        sandbox_id=lease.lease_id,
        idempotency_key=once,
        template=wish.template,
        started_at=now,
        ends_at=ends_at,
        paid_until=renewals.seconds(lease.expires_at, ends_at),
        cores=lease.cores,
        memory_mb=lease.memory_mb,
        disk_gb=lease.disk_gb,
        metadata=wish.metadata,
        envs=wish.envs,
    )


def _check_seconds(seconds: int) -> None:
    if not 0 <= seconds <= _MOST_SECONDS:
        raise refusals.Refused("invalid_argument", f"a timeout is 0 to {_MOST_SECONDS} seconds")
