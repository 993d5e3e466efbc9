"""The client library for tenants' programs; it talks to the service over HTTP only.

from pve402 import client, schemas

async with client.Client("https://rent.example.com", key="0x...", cap_usd="0.50") as service:
    bought = await service.lease(schemas.LeaseRequest(...))
    wish = schemas.ExecRequest(argv=["uptime"])
    answer = await client.commands.run(service, bought.answer.lease_id, wish)
"""

from pve402.client import commands, entries, files, keys, names, streams
from pve402.client.client import DEFAULT_CAP_USD, Bought, Client
from pve402.client.errors import (
    AddressInvalid,
    ClientError,
    CommandLost,
    FileDamaged,
    FileTooLarge,
    KeyInvalid,
    KeyNeeded,
    NameAmbiguous,
    NameUnknown,
    OverCap,
    Redirected,
    Refused,
    ServiceUnreachable,
    TokenInvalid,
    UnexpectedAnswer,
    plain,
)
from pve402.client.receipt import Receipt
from pve402.client.transport import Reply

__all__ = [
    "DEFAULT_CAP_USD",
    "AddressInvalid",
    "Bought",
    "Client",
    "ClientError",
    "CommandLost",
    "FileDamaged",
    "FileTooLarge",
    "KeyInvalid",
    "KeyNeeded",
    "NameAmbiguous",
    "NameUnknown",
    "OverCap",
    "Receipt",
    "Redirected",
    "Refused",
    "Reply",
    "ServiceUnreachable",
    "TokenInvalid",
    "UnexpectedAnswer",
    "commands",
    "entries",
    "files",
    "keys",
    "names",
    "plain",
    "streams",
]
