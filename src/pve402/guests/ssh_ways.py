"""What the jump host needs of a guest, wherever its terminal is held: keys and an SSH server."""

from typing import Any

from pve402.domain.lease import Lease
from pve402.guests import far_answers, far_pipes, guest_work, holder, peers, pipes, ssh_keys
from pve402.hub import errors as hub_errors
from pve402.hub import services


async def authorized(work: guest_work.GuestWork, row: Lease) -> frozenset[str]:
    """Return the fingerprints of the keys that may log in. Raises HubError."""
    try:
        return await _authorized_here(work, row)
    except hub_errors.Moved as moved:
        address = moved.owner_address

    async def attempt(caller: peers.Peers, address: str) -> frozenset[str] | None:
        return await _authorized_there(caller, address, row)

    found = await holder.at_holder(work, row, address, attempt)
    return await _authorized_here(work, row) if found is None else found


def given(row: Lease) -> frozenset[str]:
    """Return the fingerprints of the keys that a tenant gave for a guest: known while it is down.

    The guest may have others by now.
    """
    return frozenset(map(ssh_keys.fingerprint, row.metadata.get("sshPublicKeys", ()))) - {""}


async def opened(work: guest_work.GuestWork, row: Lease) -> pipes.Pipe:
    """Start the guest's SSH server for one connection. Raises HubError."""
    try:
        return await _opened_here(work, row)
    except hub_errors.Moved as moved:
        address = moved.owner_address

    async def attempt(caller: peers.Peers, address: str) -> pipes.Pipe | None:
        return await far_pipes.opened(caller, address, row, {"service": "ssh"})

    pipe = await holder.at_holder(work, row, address, attempt)
    return await _opened_here(work, row) if pipe is None else pipe


async def _opened_here(work: guest_work.GuestWork, row: Lease) -> pipes.Pipe:
    return pipes.HerePipe(await work.streams.open(guest_work.ref(row), row, services.ssh()))


async def _authorized_here(work: guest_work.GuestWork, row: Lease) -> frozenset[str]:
    keys = await work.ssh_keys.authorized(guest_work.ref(row))
    return frozenset(key.fingerprint for key in keys if key.fingerprint)


async def _authorized_there(caller: peers.Peers, address: str, row: Lease) -> frozenset[str] | None:
    """Ask a peer; None if it is down or does not hold the terminal. Raises HubError."""
    document = await far_answers.read(caller, address, row, f"/management/keys/{row.vmid}")
    return None if document is None else _fingerprints(document)


def _fingerprints(document: dict[str, Any]) -> frozenset[str]:
    return frozenset(key["fingerprint"] for key in document["keys"] if key["fingerprint"])
