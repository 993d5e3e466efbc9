"""Published ports of a container: HTTP and websockets under a host name.

async with client.Client("https://rent.example.com", token="...") as service:
    made = await client.ports.publish(service, "10001", schemas.PortRequest(port=8080))
    print(made.url)
"""

from typing import Any, TypeVar

from pydantic import BaseModel

from pve402 import schemas
from pve402.client import transport
from pve402.client.client import Client

Answer = TypeVar("Answer", bound=BaseModel)


async def show(service: Client, ctid: str) -> list[schemas.PortItem]:
    """List the published ports. Raises Refused, ServiceUnreachable."""
    return (await _call(service, "GET", ctid, "", schemas.PortsAnswer)).ports


async def publish(service: Client, ctid: str, wish: schemas.PortRequest) -> schemas.PortItem:
    """Publish a port, or change who may use it and until when. Raises as `show`."""
    document = transport.document(wish)
    return await _call(service, "POST", ctid, "", schemas.PortItem, document=document)


async def unpublish(service: Client, ctid: str, port: int) -> list[schemas.PortItem]:
    """Publish a port no more; returns the others. Raises as `show`."""
    return (await _call(service, "DELETE", ctid, f"?port={port}", schemas.PortsAnswer)).ports


async def login(service: Client, ctid: str, port: int) -> schemas.PortLoginAnswer:
    """Make a link that logs one browser in to a private port, once. Raises as `show`."""
    document = transport.document(schemas.PortLoginRequest(port=port))
    return await _call(service, "POST", ctid, "/login", schemas.PortLoginAnswer, document=document)


async def _call(
    service: Client, method: str, ctid: str, rest: str, answered: type[Answer], **request: Any
) -> Answer:
    path = f"/management/ports/{ctid}{rest}"
    async with service.opened(method, path, ctid, timeout=transport.WHOLE, **request) as answer:
        return transport.read(await transport.read_reply(answer), answered)
