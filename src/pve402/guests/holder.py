"""Finds the replica that holds a guest's terminal; the holder may die during the search."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pve402.domain.lease import Lease
from pve402.guests import guest_work, peers
from pve402.hub import errors as hub_errors

Result = TypeVar("Result")

FIND_SECONDS: Final = 12.0
PAUSE_SECONDS: Final = 0.2


async def at_holder(
    work: guest_work.GuestWork,
    lease: Lease,
    address: str,
    attempt: Callable[[peers.Peers, str], Awaitable[Result | None]],
) -> Result | None:
    """Return the result of `attempt` at the holder; `attempt` returns None at any other replica.

    None if the holder died and we hold the terminal now. Raises Moved if there is no holder.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + FIND_SECONDS
    while work.peers is not None and work.owners is not None and loop.time() < give_up_at:
        done = await attempt(work.peers, address) if address else None
        if done is not None:
            return done
        await asyncio.sleep(PAUSE_SECONDS)
        claim = await work.owners.claim(guest_work.ref(lease))
        if claim.is_ours:
            return None
        address = claim.owner_address
    raise hub_errors.Moved
