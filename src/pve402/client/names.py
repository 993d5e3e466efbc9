"""How tenants name a lease: by its ctid, its leaseId, or the host name of exactly one lease."""

import re
from collections.abc import Sequence
from typing import Final

from pve402 import schemas
from pve402.client import errors
from pve402.client.client import Client

_DIRECT: Final = re.compile(r"[0-9]+|l[a-z0-9]{25}")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9.-]{1,253}")
_MOST_CANDIDATES: Final = 10


async def resolve(service: Client, name: str) -> str:
    """Return the ctid or leaseId for a name among the caller's leases.

    A name made of digits is taken as a ctid without a look-up. Raises NameUnknown, NameAmbiguous,
    and what `Client.leases` raises.
    """
    if _DIRECT.fullmatch(name):
        return name
    if not _HOST_NAME.fullmatch(name):
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


def _candidates(found: Sequence[schemas.LeaseItem]) -> str:
    shown = [
        errors.plain(f"{item.ctid or 'no ctid yet'} ({item.lease_id}, {item.status})", 80)
        for item in found[:_MOST_CANDIDATES]
    ]
    return ", ".join(shown) + (", ..." if len(found) > _MOST_CANDIDATES else "")
