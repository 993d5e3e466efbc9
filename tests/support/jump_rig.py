"""A jump host in this process, whose guests are echoes and whose leases a test names."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import asyncssh
from tests.support import fake_leases, loopback

from pve402.domain import errors, lease, power
from pve402.guests import open_calls, pipes
from pve402.jump import host, host_key, inside, way
from pve402.jump.options import JumpOptions
from pve402.jump.proxies import Proxies

BANNER = b"SSH-2.0-guest\r\n"
OPTIONS = JumpOptions(login_seconds=5.0, answer_seconds=0.2, burst=1000, free_failures=1000)


class EchoPipe(pipes.Pipe):
    """A guest's SSH server that says its version, and then whatever it was told."""

    def __init__(self) -> None:
        self.complaint = b""
        self.exit_code: int | None = None
        self.given = 0
        self.is_closed = False
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.said.put_nowait(BANNER)

    async def read(self) -> bytes:
        data = await self.said.get()
        self.given += len(data)
        return data

    async def write(self, data: bytes) -> None:
        self.said.put_nowait(data)

    async def end_input(self) -> None:
        self.said.put_nowait(b"")

    async def close(self) -> None:
        self.is_closed = True


class EndlessPipe(EchoPipe):
    """A server that never stops talking, and does not listen."""

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        self.given += 32_768
        return bytes(32_768)

    async def write(self, data: bytes) -> None:
        await asyncio.Event().wait()


class AbsentPipe(EchoPipe):
    """A guest without a server."""

    def __init__(self) -> None:
        super().__init__()
        self.complaint = b"pve402: this container has no sshd\x1b[31m\n"
        self.exit_code = 127

    async def read(self) -> bytes:
        return b""


@dataclass(kw_only=True)
class Rig:
    """The jump host, its leases and what was done with their guests."""

    port: int
    leases: dict[str, lease.Lease] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=dict)
    pipes: list[EchoPipe] = field(default_factory=list)
    pipe_of_guest: type[EchoPipe] = EchoPipe
    readings: int = 0
    woken: list[str] = field(default_factory=list)
    refusal: errors.Pve402Error | None = None

    def lease(self, *keys: asyncssh.SSHKey, **changes: Any) -> lease.Lease:
        """Add a lease that these keys open."""
        made = fake_leases.make_lease("eip155:84532:0x" + "1" * 40, **changes)
        self.leases[made.lease_id] = made
        self.keys[made.lease_id] = {key.get_fingerprint() for key in keys}
        return made

    async def find(self, lease_id: str) -> lease.Lease:
        """Find a lease, as the service does."""
        if lease_id not in self.leases:
            raise errors.LeaseNotFound
        return self.leases[lease_id]

    async def authorized(self, found: lease.Lease) -> frozenset[str]:
        """The keys that are in the guest now, if it is up."""
        self.readings += 1
        if self.leases[found.lease_id].paused_at is not None:
            raise errors.TryLater
        return frozenset(self.keys[found.lease_id])

    async def wake_for(self, found: lease.Lease, use: power.Use) -> lease.Lease:
        """Wake a lease if this use does; that takes a moment."""
        if self.refusal is not None:
            raise self.refusal
        if found.is_woken_by(use):
            self.woken.append(found.lease_id)
            await asyncio.sleep(0.02)
            self.leases[found.lease_id] = found.evolve(paused_at=None)
        return self.leases[found.lease_id]

    async def open_pipe(self, _found: lease.Lease) -> pipes.Pipe:
        """Start the guest's server."""
        self.pipes.append(self.pipe_of_guest())
        return self.pipes[-1]

    @contextlib.asynccontextmanager
    async def client(
        self, name: str, key: asyncssh.SSHKey | asyncssh.SSHKeyPair | None = None, **options: Any
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Log in."""
        keys = [key] if key is not None else None
        async with asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=name,
            client_keys=keys,
            known_hosts=None,
            config=None,
            agent_path=None,
            **options,
        ) as connection:
            yield connection


async def until(is_true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(60):
        while not is_true():  # noqa: ASYNC110 -- whoever changes it knows nothing of tests
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(*, proxies: Proxies | None = None, **limits: Any) -> AsyncIterator[Rig]:
    """Run a jump host with these limits."""
    port = loopback.free_port()
    rig = Rig(port=port)
    calls = open_calls.OpenCalls(cast("Any", None), seconds=3600.0)

    within = inside.Inside(
        find=rig.find,
        wake_for=rig.wake_for,
        authorized=rig.authorized,
        open_pipe=rig.open_pipe,
        open_calls=calls,
    )
    key = host_key.of(bytes(32))
    access = way.Way(host="127.0.0.1", port=port, public_key=host_key.public_text(key))
    options = dataclasses.replace(OPTIONS, **limits)
    jump = host.JumpHost(f"127.0.0.1:{port}", key, access, within, options, proxies)
    await jump.start()
    try:
        yield rig
    finally:
        await jump.stop()
        await calls.close()
