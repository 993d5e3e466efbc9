"""What the jump host uses of the rest: leases, their guests, and what ends with them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pve402.domain import lease, power
from pve402.guests import guest_work, open_calls, pipes, ssh_ways


@dataclass(frozen=True, kw_only=True)
class Inside:
    """Each may raise Pve402Error.

    find: the lease of a leaseId.
    wake_for: a lease that is about to be used: awake if its tenant chose that such use wakes it.
    authorized: the fingerprints of the keys that may log in to its guest.
    open_pipe: the guest's SSH server, started for one connection.
    """

    find: Callable[[str], Awaitable[lease.Lease]]
    wake_for: Callable[[lease.Lease, power.Use], Awaitable[lease.Lease]]
    authorized: Callable[[lease.Lease], Awaitable[frozenset[str]]]
    open_pipe: Callable[[lease.Lease], Awaitable[pipes.Pipe]]
    open_calls: open_calls.OpenCalls


def of(
    work: guest_work.GuestWork,
    find: Callable[[str], Awaitable[lease.Lease]],
    wake_for: Callable[[lease.Lease, power.Use], Awaitable[lease.Lease]],
) -> Inside:
    """Return the ways into the guests of this installation."""

    async def authorized(found: lease.Lease) -> frozenset[str]:
        return await ssh_ways.authorized(work, found)

    async def open_pipe(found: lease.Lease) -> pipes.Pipe:
        return await ssh_ways.opened(work, found)

    return Inside(
        find=find,
        wake_for=wake_for,
        authorized=authorized,
        open_pipe=open_pipe,
        open_calls=work.consoles.open_calls,
    )
