"""Consoles served by Proxmox VE itself, for operators who switched that on.

The tenant gets the ticket of a user created for this one lease, whose only right is VM.Console
on its guest. We remove the user when the lease ends, and find users left behind by a crash by
their name. It must be a new user: a role on /vms/ID replaces what a user inherits from /vms.
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from pve402.domain import errors, lease
from pve402.proxmox import access
from pve402.proxmox import client as pve_client
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.storage import database, lease_rows

log = structlog.get_logger(__name__)

#: The role that lets a lease's user open a console. Proxmox VE reserves names that start with PVE,
#: in any case, so the former name exists only where somebody added it to a file by hand.
ROLE = "R402Console"
_FORMER_ROLE = "Pve402Console"
PRIVILEGES = frozenset({"VM.Console"})
_SWEEP_SECONDS = 600.0


class DirectConsoleRefused(errors.TryLater):
    """The service cannot hand out consoles of Proxmox VE; its operator's log says why."""

    detail = "The service cannot hand out consoles of Proxmox VE; its operator's log says why."
    code = "direct_console_unavailable"


@dataclass(frozen=True, kw_only=True)
class DirectConsole:
    """A prepared console of Proxmox VE, and the login that may open it."""

    login: access.Ticket = field(repr=False)
    ticket: pve_guests.TerminalTicket | pve_guests.VncTicket = field(repr=False)


async def find_role(rights: access.Access) -> tuple[str, frozenset[str] | None]:
    """The name of the console role and its privileges; None if the role does not exist."""
    for role in (ROLE, _FORMER_ROLE):
        held = await rights.role_privileges(role)
        if held is not None:
            return role, held
    return ROLE, None


class DirectConsoles:
    """Creates and removes the users of leases, and opens consoles as them.

    `as_user(name, password)` builds a client for that user. `check_guest` verifies that we may
    enter a lease's guest; it raises GuestNotRunning, TerminalUnreachable.
    """

    def __init__(
        self,
        rights: access.Access,
        db: database.Database,
        as_user: Callable[[str, str], pve_client.ProxmoxClient],
        check_guest: Callable[[lease.Lease], Awaitable[None]],
        *,
        console_host: str,
        instance: str,
        key: bytes,
    ) -> None:
        #: Where tenants' browsers reach Proxmox VE.
        self.console_host = console_host
        self._rights = rights
        self._db = db
        self._as_user = as_user
        self._check_guest = check_guest
        self._instance = instance
        self._key = key
        self._sweeping: asyncio.Task[None] | None = None

    async def check(self, row: lease.Lease) -> None:
        """Check that we may create a lease's user, and that the role grants no more than it should.

        Raises DirectConsoleRefused, after logging the cause for the operator; ProxmoxUnavailable.
        """
        needed = dict(access.CONSOLE_USER_PRIVILEGES)
        needed[f"/vms/{row.vmid}"] = frozenset({"VM.Allocate", *PRIVILEGES})
        try:
            role, held = await find_role(self._rights)
            lacking = await self._rights.lacking(needed)
        except pve.ProxmoxError as error:
            raise errors.ProxmoxUnavailable from error
        if held == PRIVILEGES and not lacking:
            return
        log.error(
            "direct_console_refused",
            missing_rights={path: sorted(names) for path, names in lacking.items()},
            role=role,
            role_has=None if held is None else sorted(held),
            role_needs=sorted(PRIVILEGES),
        )
        raise DirectConsoleRefused

    async def open(self, row: lease.Lease, *, vnc: bool) -> DirectConsole:
        """Prepare a console for a lease's own user.

        Raises GuestNotRunning if the guest is not the lease's, TerminalUnreachable,
        DirectConsoleRefused, ProxmoxUnavailable, LeaseNotReady if the lease has just ended.
        """
        await self._check_guest(row)
        try:
            login = await self._login(row)
            return DirectConsole(login=login, ticket=await self._open(row, login, vnc=vnc))
        except pve.Unreachable as error:
            raise errors.ProxmoxUnavailable from error
        except pve.ProxmoxError as error:
            log.warning("direct_console_failed", lease=row.lease_id, problem=str(error))
            raise DirectConsoleRefused from error

    async def remove(self, row: lease.Lease) -> None:
        """Remove a lease's user; a missing user is not an error. Raises ProxmoxError."""
        await self._rights.delete_user(self._name(row.lease_id))

    async def sweep(self) -> None:
        """Remove the users of leases that are not active. Raises ProxmoxError."""
        prefix, suffix = self._name("").split("@")
        ours = {
            name.removeprefix(prefix).removesuffix(f"@{suffix}"): name
            for name in await self._rights.users()
            if name.startswith(prefix) and name.endswith(f"@{suffix}")
        }
        async with self._db.read() as tx:
            found = await lease_rows.list_by_ids(tx, list(ours))
        active = {row.lease_id for row in found if row.status is lease.LeaseStatus.ACTIVE}
        for lease_id in ours.keys() - active:
            log.info("console_user_removed", lease=lease_id)
            await self._rights.delete_user(ours[lease_id])

    def start(self) -> None:
        """Start sweeping, first now and then regularly."""
        self._sweeping = asyncio.create_task(self._sweep_for_ever())

    async def stop(self) -> None:
        """Stop sweeping."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    async def _login(self, row: lease.Lease) -> access.Ticket:
        """Log the lease's user in; creates the user first if needed."""
        name, password = self._name(row.lease_id), self._password(row.lease_id)
        with contextlib.suppress(pve.UserExists):
            await self._rights.create_user(name, password, comment=f"console of {row.lease_id}")
        ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
        role, _ = await find_role(self._rights)
        await self._rights.grant(name, role, ref)
        if not await self._is_active(row.lease_id):  # the lease ended before its user existed
            await self._rights.delete_user(name)
            raise errors.LeaseNotReady
        return await self._rights.login(name, password)

    async def _open(
        self, row: lease.Lease, login: access.Ticket, *, vnc: bool
    ) -> pve_guests.TerminalTicket | pve_guests.VncTicket:
        ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
        # A ticket works as the password, and then both logins belong to the same user.
        async with self._as_user(login.username, login.ticket) as client:
            own = pve_guests.Guests(client)
            return await own.open_vnc(ref) if vnc else await own.open_terminal(ref)

    async def _is_active(self, lease_id: str) -> bool:
        async with self._db.read() as tx:
            found = await lease_rows.get(tx, lease_id)
        return found is not None and found.status is lease.LeaseStatus.ACTIVE

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except (pve.ProxmoxError, errors.DatabaseUnavailable) as error:
                log.warning("console_users_not_swept", error=type(error).__name__)
            await asyncio.sleep(_SWEEP_SECONDS)

    def _name(self, lease_id: str) -> str:
        """The user's name: at most 63 characters; Proxmox VE allows 64."""
        return f"{self._instance}.{lease_id}@pve"

    def _password(self, lease_id: str) -> str:
        """The user's password: 64 digits, never stored; only we log in with it."""
        return hmac.new(self._key, lease_id.encode(), hashlib.sha256).hexdigest()
