"""What reaches a container of an isolated network from outside.

async with client.Client("https://rent.example.com", token="...") as service:
    rule = schemas.InboundRule(protocol="tcp", ports=["22", "8000-8100"])
    await client.inbound.change(service, "10001", [rule])
"""

from collections.abc import Sequence
from typing import Any

from pve402 import schemas
from pve402.client import transport
from pve402.client.client import Client


async def show(service: Client, ctid: str) -> schemas.InboundAnswer:
    """What gets in now. Raises KeyNeeded, Refused, ServiceUnreachable."""
    return await _call(service, "GET", ctid)


async def change(
    service: Client, ctid: str, rules: Sequence[schemas.InboundRule] | None
) -> schemas.InboundAnswer:
    """Let in just this, or, with None, what the operator's network does. Raises as `show`."""
    wish = schemas.InboundRequest(rules=None if rules is None else list(rules))
    return await _call(service, "PUT", ctid, document=transport.document(wish))


async def _call(service: Client, method: str, ctid: str, **request: Any) -> schemas.InboundAnswer:
    path = f"/lease/{ctid}/inbound"
    async with service.opened(method, path, ctid, timeout=transport.WHOLE, **request) as answer:
        return transport.read(await transport.read_reply(answer), schemas.InboundAnswer)
