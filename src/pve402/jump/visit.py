"""One client of the jump host: who it is, and the one thing that it may do.

A client proves that it has a key of the lease that its user name says. Every refusal looks the
same and comes after the same time, whether there is such a lease or not. Then it may connect to the
guest's SSH server, and to nothing else: what asyncssh asks us about sessions, forwarded ports,
sockets and agents keeps its answer, which is no.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncssh
import structlog
from typing_extensions import override

from pve402.domain import errors, lease
from pve402.guests import pipes
from pve402.jump.carrier import Carried, Carrier
from pve402.jump.connection import Connection
from pve402.jump.locks import Keys, Locks, Shut
from pve402.jump.options import JumpOptions

log = structlog.get_logger(__name__)

_ALIAS: Final = "guest"
_SSH_PORT: Final = 22
_UNFIT: Final = (
    "pve402: this key opens no running lease of this name. The keys are the lines of"
    " /root/.ssh/authorized_keys in the container; the user name is the leaseId.\r\n"
)
_ELSEWHERE: Final = "this host leads to port 22 of your container only: ssh -J ... root@{lease_id}"
_NO_SHELL: Final = "this host has no shell; it leads to your container: ssh -J ... root@{lease_id}"
_MOST_WORDS: Final = 400


class Visit(asyncssh.SSHServer):
    """The questions that asyncssh asks about one client, and our answers."""

    def __init__(
        self,
        locks: Locks,
        open_pipe: Callable[[lease.Lease], Awaitable[pipes.Pipe]],
        options: JumpOptions,
    ) -> None:
        self.lease: lease.Lease | None = None
        self.fingerprint = ""
        self.carried = Carried()
        self.is_proven = False
        #: Set by a login and by the connection's end.
        self.changed = asyncio.Event()
        self.is_over = False
        #: Set once the guest may be entered: a lease that was paused has been woken.
        self.is_awake = asyncio.Event()
        #: Why it ended, for the log.
        self.reason = ""
        self._locks = locks
        self._open_pipe = open_pipe
        self._options = options
        self._name: str | None = None
        self._looked_up: asyncio.Task[tuple[lease.Lease | None, Keys]] | None = None
        self._refuses_at = 0.0
        self._tries = 0
        self._channels = 0
        self._connection: Connection

    def end(self, reason: str) -> None:
        """Tell the client why, and close its connection."""
        self.reason = self.reason or reason
        self._connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, reason)

    # who it is

    @override
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        assert isinstance(conn, Connection)  # noqa: S101 -- for the type checker
        self._connection = conn
        conn.visit = self

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
        self.reason = self.reason or _reason_of(exc)
        if self._looked_up is not None:
            self._looked_up.cancel()
        self.changed.set()

    @override
    def begin_auth(self, username: str) -> bool:
        if self._name is None:
            self._name = username
            self._refuses_at = _now() + self._options.answer_seconds
            self._looked_up = asyncio.create_task(self._locks.keys_of_name(username))
        return True

    @override
    def public_key_auth_supported(self) -> bool:
        return True

    @override
    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        found, keys = await self._opened_by(username)
        fingerprint = key.get_fingerprint()
        if found is not None and fingerprint in keys:
            self.lease, self.fingerprint = found, fingerprint
            return True
        await self._refuse()
        return False

    @override
    def auth_completed(self) -> None:
        self.is_proven = True
        self.changed.set()

    async def _opened_by(self, username: str) -> tuple[lease.Lease | None, Keys]:
        """Return what the name opens; a second name on one connection opens nothing."""
        if username != self._name or self._looked_up is None:
            return None, frozenset()
        return await asyncio.shield(self._looked_up)

    async def _refuse(self) -> None:
        """Wait until the time at which every refusal comes; end the connection after some."""
        self._tries += 1
        behind = _now() - self._refuses_at
        if behind > 0 and self._tries == 1:
            self._refuses_at += self._options.answer_seconds * (
                behind // self._options.answer_seconds + 1
            )
        await asyncio.sleep(max(0.0, self._refuses_at - _now()))
        if self.is_over:
            return
        if self._tries == 1:
            self._connection.send_auth_banner(_UNFIT)
        if self._tries >= self._options.tries:
            self.end("too many keys were tried; name one with ssh's -i and IdentitiesOnly=yes")

    # what it may do

    @override
    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        found = self.lease
        if found is None or not _leads_to_guest(found, dest_host, dest_port):
            raise self._prohibited(_ELSEWHERE)
        if self._channels >= self._options.channels:
            raise _not_opened(
                asyncssh.OPEN_RESOURCE_SHORTAGE, "this connection carries enough already"
            )
        self._channels += 1
        return self._opened_channel(found)

    @override
    def session_requested(self) -> bool:
        raise self._prohibited(_NO_SHELL)

    def _prohibited(self, words: str) -> asyncssh.ChannelOpenError:
        lease_id = "" if self.lease is None else self.lease.lease_id
        reason = words.format(lease_id=lease_id)
        return _not_opened(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, reason)

    async def _opened_channel(self, found: lease.Lease) -> asyncssh.SSHTCPSession[bytes]:
        """Start the guest's SSH server. Raises ChannelOpenError."""
        try:
            async with asyncio.timeout(self._options.open_seconds):
                await self.is_awake.wait()
                await self._check_still_fits(found)
                return await self._carrier(found)
        except Exception as error:  # noqa: BLE001 -- a bug is logged, and ends one channel only
            self._leave_channel()
            raise _refusal_of(error) from None

    async def _check_still_fits(self, found: lease.Lease) -> None:
        """Look again: the key may have been removed. Raises Pve402Error."""
        current = await self._locks.find(found.lease_id)
        if self.fingerprint not in await self._locks.keys(current):
            raise errors.NotAllowed(Shut.REMOVED.value)

    async def _carrier(self, found: lease.Lease) -> Carrier:
        """Raises HubError, and ChannelOpenError if there is no server."""
        pipe = await self._open_pipe(found)
        is_used = False
        try:
            first = await pipe.read()
            if not first:
                raise _not_opened(asyncssh.OPEN_CONNECT_FAILED, _words(pipe))
            is_used = not self.is_over
        finally:
            if not is_used:
                await pipe.close()
        if not is_used:
            raise _not_opened(asyncssh.OPEN_CONNECT_FAILED, "the client left")
        return Carrier(pipe, first, self._connection, self.carried, self._leave_channel)

    def _leave_channel(self) -> None:
        self._channels -= 1


def _leads_to_guest(found: lease.Lease, host: str, port: int) -> bool:
    return port == _SSH_PORT and host.lower() in {_ALIAS, found.lease_id, found.hostname}


def _not_opened(code: int, reason: str) -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(code, reason)


def _refusal_of(error: Exception) -> asyncssh.ChannelOpenError:
    """Say why a channel was not opened; ssh shows it. A bug of ours is logged instead."""
    match error:
        case asyncssh.ChannelOpenError():
            return error
        case errors.Pve402Error():
            return _not_opened(asyncssh.OPEN_CONNECT_FAILED, f"{error.detail} ({error.code})")
        case TimeoutError():
            reason = "the container did not answer in time"
            return _not_opened(asyncssh.OPEN_CONNECT_FAILED, reason)
    log.error("jump_channel_failed", exc_info=error)
    return _not_opened(asyncssh.OPEN_CONNECT_FAILED, "internal error")


def _words(pipe: pipes.Pipe) -> str:
    """What the guest said instead of serving, as plain text."""
    said = pipe.complaint.decode("ascii", "replace")
    plain = "".join(character if " " <= character <= "~" else " " for character in said)
    return " ".join(plain.split())[:_MOST_WORDS] or (
        f"the container's SSH server ended with exit code {pipe.exit_code}"
    )


def _reason_of(error: Exception | None) -> str:
    """Name the end of a connection; what a client says about it is not for our log."""
    if error is None or isinstance(error, asyncssh.ConnectionLost):
        return "the client left"
    return type(error).__name__


def _now() -> float:
    return asyncio.get_running_loop().time()
