"""Whether a guest runs detached commands, wherever its terminal is held."""

from typing import Any

from pve402.domain import errors
from pve402.domain.lease import Lease
from pve402.guests import far_answers, guest_work, holder, peers
from pve402.hub import errors as hub_errors
from pve402.hub.detached import DetachedState

_RUNNING = DetachedState.RUNNING


async def are_running(work: guest_work.GuestWork, row: Lease) -> bool:
    """Return whether any command goes on without its call; True if the guest does not tell."""
    try:
        return await _are_running(work, row)
    except errors.Pve402Error:
        return True


async def _are_running(work: guest_work.GuestWork, row: Lease) -> bool:
    try:
        return await _here(work, row)
    except hub_errors.Moved as moved:
        address = moved.owner_address

    async def attempt(caller: peers.Peers, address: str) -> list[dict[str, Any]] | None:
        return await far_answers.read(caller, address, row, f"/management/exec/{row.vmid}")

    found = await holder.at_holder(work, row, address, attempt)
    if found is None:
        return await _here(work, row)
    return any(one["detached"] and one["state"] == _RUNNING.value for one in found)


async def _here(work: guest_work.GuestWork, row: Lease) -> bool:
    listed = await work.detached.list(guest_work.ref(row))
    return any(one.state is _RUNNING for one in listed)
