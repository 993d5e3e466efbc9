"""The jump host: accepts connections, and ends them with their lease."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Final

import asyncssh
import structlog

from pve402.domain import client_party, errors, lease, power
from pve402.guests import open_calls
from pve402.jump import goodbye, inside, metrics, way
from pve402.jump import options as limits
from pve402.jump.connection import Connection
from pve402.jump.doorkeeper import Doorkeeper, NotNow, Place
from pve402.jump.locks import Locks
from pve402.jump.proxies import Proxies
from pve402.jump.visit import Visit

log = structlog.get_logger(__name__)

_BACKLOG: Final = 512
_WINDOW_BYTES: Final = 256 * 1024
_PAUSE_SECONDS: Final = 0.5
_MOST_VERSION_CHARACTERS: Final = 80


class JumpHost:
    """Listens on one address; `key` is its own, `access` what tenants are told."""

    def __init__(
        self,
        bind: str,
        key: asyncssh.SSHKey,
        access: way.Way,
        within: inside.Inside,
        options: limits.JumpOptions | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self.way = access
        self._key = key
        self._bind = bind
        self._inside = within
        self._options = options or limits.JumpOptions()
        self._proxies = proxies or Proxies()
        self._keeper = Doorkeeper(self._options, time.monotonic)
        self._locks = Locks(within.find, within.authorized, self._options)
        self._ssh_options: asyncssh.SSHServerConnectionOptions
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._visits: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError if we cannot listen on the address."""
        host, _, port = self._bind.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)
        logging.getLogger("asyncssh").setLevel(logging.ERROR)  # it would log names and commands
        self._ssh_options = await _ssh_options(self._options, self._key, self._new_visit)
        self._accepting = asyncio.create_task(self._accept(self._listener))
        log.info("listening_for_ssh", address=self._bind, key=self._key.get_fingerprint())

    async def stop(self) -> None:
        """Accept nothing more, and end every connection."""
        tasks = [*self._visits, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    def _new_visit(self) -> Visit:
        return Visit(self._locks, self._inside.open_pipe, self._options)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError:  # too many open files; or it has gone already
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            visit = asyncio.create_task(self._serve(connection, address[0]))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)

    async def _serve(self, connection: socket.socket, peer: str) -> None:
        """Serve one connection to its end."""
        try:
            address = await self._proxies.client_of(connection, peer)
            with self._keeper.admitted(client_party.of(address)) as place:
                await self._shake_hands(connection, address, place)
        except NotNow as refusal:
            metrics.REFUSED.inc()
            goodbye.say(connection, str(refusal))
        except OSError:
            connection.close()
        except Exception:
            log.exception("jump_failed")
            connection.close()

    async def _shake_hands(self, connection: socket.socket, address: str, place: Place) -> None:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            lambda: Connection(loop, self._ssh_options, self._options.login_bytes), sock=connection
        )
        visit = client.visit
        try:
            with metrics.CONNECTIONS.track_inprogress():
                await self._until_proven(visit)
                if visit.is_proven and visit.lease is not None:
                    await self._while_lasting(client, visit, visit.lease, address, place)
        except NotNow as refusal:
            visit.end(str(refusal))
        except errors.Pve402Error:
            visit.end("the lease of this container has ended")
        except asyncio.CancelledError:
            visit.end("the service is stopping")
            raise
        finally:
            client.abort()
            metrics.count(visit)

    async def _until_proven(self, visit: Visit) -> None:
        """Wait for the login, or the connection's end. Raises NotNow after some time."""
        try:
            async with asyncio.timeout(self._options.login_seconds):
                while not (visit.is_proven or visit.is_over):
                    await visit.changed.wait()
        except TimeoutError:
            seconds = int(self._options.login_seconds)
            raise NotNow(f"there was no login within {seconds} s") from None
        visit.changed.clear()

    async def _while_lasting(
        self, client: Connection, visit: Visit, found: lease.Lease, address: str, place: Place
    ) -> None:
        """Let a client do its work while the lease lasts. Raises NotNow, Pve402Error."""
        place.log_in(found.lease_id)
        facts = {"lease": found.lease_id, "address": address, "key": visit.fingerprint}
        log.info("jump_login", client=_version_of(client), **facts)
        started = time.monotonic()
        try:
            call = open_calls.OpenCall(await self._awake(visit, found), None)
            with self._inside.open_calls.track(call):
                async with call.lasting():
                    await self._until_over(visit, found.lease_id)
        except errors.Pve402Error as end:
            visit.reason = visit.reason or end.code
            raise
        finally:
            log.info(
                "jump_end",
                seconds=round(time.monotonic() - started, 1),
                to_guest=visit.carried.to_guest,
                from_guest=visit.carried.from_guest,
                reason=visit.reason,
                **facts,
            )

    async def _awake(self, visit: Visit, found: lease.Lease) -> lease.Lease:
        """Return a lease once its guest may be entered. Raises NotNow."""
        try:
            woken = await self._inside.wake_for(found, power.Use.COMMAND)
        except errors.Pve402Error as refusal:
            visit.reason = refusal.code
            raise NotNow(refusal.detail) from None
        visit.is_awake.set()
        return woken

    async def _until_over(self, visit: Visit, lease_id: str) -> None:
        """Wait until the client has left. Raises NotNow once its key opens the guest no more."""
        shut = asyncio.create_task(self._locks.until_shut(lease_id, visit.fingerprint))
        shut.add_done_callback(lambda _: visit.changed.set())
        try:
            while not (visit.is_over or shut.done()):
                visit.changed.clear()
                await visit.changed.wait()
        finally:
            is_shut = shut.done() and not visit.is_over
            shut.cancel()
            await asyncio.gather(shut, return_exceptions=True)
        if is_shut:
            why = shut.result()  # a bug of ours ends the connection as well
            visit.reason = f"key_{why.name.lower()}"
            raise NotNow(why.value)


async def _ssh_options(
    options: limits.JumpOptions, key: asyncssh.SSHKey, new_visit: Callable[[], Visit]
) -> asyncssh.SSHServerConnectionOptions:
    """Everything that is not in our Visit is off."""
    made: asyncssh.SSHServerConnectionOptions = await asyncssh.SSHServerConnectionOptions.construct(
        server_factory=new_visit,
        server_host_keys=[key],
        server_version=goodbye.VERSION,
        config=None,
        kex_algs=limits.KEX,
        encryption_algs=limits.CIPHERS,
        mac_algs=limits.MACS,
        signature_algs=limits.SIGNATURES,
        compression_algs=None,
        gss_host=None,
        host_based_auth=False,
        password_auth=False,
        kbdint_auth=False,
        allow_pty=False,
        line_editor=False,
        x11_forwarding=False,
        agent_forwarding=False,
        allow_scp=False,
        rdns_lookup=False,
        encoding=None,
        window=_WINDOW_BYTES,
        login_timeout=options.login_seconds + 5,
        keepalive_interval=options.keepalive_seconds,
        keepalive_count_max=options.keepalives,
    )
    return made


def _version_of(client: Connection) -> str:
    """What the client says that it is, as plain text."""
    said = str(client.get_extra_info("client_version", ""))[:_MOST_VERSION_CHARACTERS]
    return "".join(character if " " <= character <= "~" else "?" for character in said)
