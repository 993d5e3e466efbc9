"""pve402 rents out Proxmox VE containers by the minute, paid over HTTP with x402.

import pve402

with pve402.Box.lease("https://rent.example.com", key="0x...", minutes=10, max_usd="0.05") as box:
    print(box.run("make test").stdout)

What programs need of the SDK (`pve402.sdk`) and of its errors (`pve402.client`) can be used from
here, and is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pve402.client.errors import ClientError as ClientError
    from pve402.client.errors import CommandFailed as CommandFailed
    from pve402.client.errors import CommandLost as CommandLost
    from pve402.client.errors import OutcomeUnknown as OutcomeUnknown
    from pve402.client.errors import OverCap as OverCap
    from pve402.client.errors import Refused as Refused
    from pve402.client.errors import ServiceUnreachable as ServiceUnreachable
    from pve402.client.refusals import LeaseNotFound as LeaseNotFound
    from pve402.client.refusals import LeaseOver as LeaseOver
    from pve402.client.refusals import NoCapacity as NoCapacity
    from pve402.sdk import AsyncBox as AsyncBox
    from pve402.sdk import Box as Box

__version__ = "0.1.0"

_HOMES = {
    "pve402.sdk": ("AsyncBox", "Box"),
    "pve402.client.errors": (
        "ClientError",
        "CommandFailed",
        "CommandLost",
        "OutcomeUnknown",
        "OverCap",
        "Refused",
        "ServiceUnreachable",
    ),
    "pve402.client.refusals": ("LeaseNotFound", "LeaseOver", "NoCapacity"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'pve402' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *(name for names in _HOMES.values() for name in names)]
