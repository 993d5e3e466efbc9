"""What tenants call a lease (its ctid, its leaseId, or the host name of exactly one lease), and how
its container is.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import Final

from pve402 import schemas
from pve402.client import errors, held
from pve402.client.client import Client

#: States of leases that are over.
OVER: Final = ("ended", "failed")

_CTID: Final = re.compile(r"[0-9]+")
_LEASE_ID: Final = re.compile(r"l[a-z0-9]{25}")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_MOST_CANDIDATES: Final = 10


def is_lease_id(text: str) -> bool:
    """Whether the text is a leaseId, which is safe in a command line or a configuration."""
    return _LEASE_ID.fullmatch(text) is not None


def check_lease_id(text: str) -> None:
    """Raise UnexpectedAnswer for a service's leaseId that could lead a later request elsewhere."""
    if not is_lease_id(text):
        raise errors.UnexpectedAnswer("the leaseId in the service's answer is not valid")


def is_host_name(text: str) -> bool:
    """Whether the text is a host name, which is safe in a command line or a configuration."""
    return _HOST_NAME.fullmatch(text) is not None


def guest_state(item: schemas.LeaseItem) -> str:
    """How a lease's container is; one that is paused or suspended is not just stopped."""
    if item.suspended is not None:
        return "suspended"
    return item.vm_status.status if item.paused is None else "paused"


async def resolve(service: Client, name: str) -> str:
    """Return the ctid or leaseId for a name among the caller's leases.

    A lease that the client holds a token of is known by all of its names; otherwise a name made of
    digits is taken as a ctid without a look-up. Raises NameUnknown, NameAmbiguous, and what
    `Client.leases` raises.
    """
    if ours := [one for one in service.held if one.is_named(name)]:
        return await _only_one(service, name, ours)
    if _CTID.fullmatch(name) or is_lease_id(name):
        return name
    if not is_host_name(name):
        raise errors.NameUnknown(
            f"{errors.plain(name, 80)!r} is neither a ctid, nor a leaseId, nor a host name"
        )
    found = [item for item in await service.leases() if item.hostname.lower() == name.lower()]
    if not found:
        raise errors.NameUnknown(f"no lease of yours has the host name {name}")
    if len(found) > 1:
        raise errors.NameAmbiguous(
            f"{len(found)} leases have the host name {name}; name one of {_candidates(found)}"
        )
    return found[0].lease_id


async def _only_one(service: Client, name: str, ours: Sequence[held.Held]) -> str:
    """Choose the held lease that is not over; a host name may have had others before it."""
    if len(ours) == 1:
        return ours[0].lease_id
    alive = []
    for one in ours:
        with contextlib.suppress(errors.Refused):  # its token opens nothing any more
            alive.append(await service.show(one.lease_id))
    alive = [item for item in alive if item.status not in OVER]
    if not alive:
        raise errors.NameUnknown(f"no lease of yours named {name} is left")
    if len(alive) > 1:
        raise errors.NameAmbiguous(
            f"{len(alive)} leases are named {name}; name one of {_candidates(alive)}"
        )
    return alive[0].lease_id


def _candidates(found: Sequence[schemas.LeaseItem]) -> str:
    shown = [
        errors.plain(f"{item.ctid or 'no ctid yet'} ({item.lease_id}, {item.status})", 80)
        for item in found[:_MOST_CANDIDATES]
    ]
    return ", ".join(shown) + (", ..." if len(found) > _MOST_CANDIDATES else "")
