"""A fresh container in the place of a lease's.

async with client.Client("https://rent.example.com", token="...") as service:
    wish = schemas.ReinstallRequest(template="debian-13", password="correct horse battery")
    await client.reinstalls.reinstall(service, "10001", wish)
"""

from typing import Any

from pve402 import schemas
from pve402.client import transport
from pve402.client.client import Client


async def show(service: Client, ctid: str) -> schemas.ReinstallAnswer:
    """The latest reinstallation, and how far it is. Raises KeyNeeded, Refused,
    ServiceUnreachable.
    """
    return await _call(service, "GET", ctid)


async def reinstall(
    service: Client, ctid: str, wish: schemas.ReinstallRequest
) -> schemas.ReinstallAnswer:
    """Destroy the container and have a fresh one. One that takes long is `reinstalling`.

    The same call again, until a minute after its end, is the same reinstallation. Raises as `show`.
    """
    return await _call(service, "POST", ctid, document=transport.document(wish))


async def _call(service: Client, method: str, ctid: str, **request: Any) -> schemas.ReinstallAnswer:
    path = f"/lease/{ctid}/reinstall"
    async with service.opened(method, path, ctid, timeout=transport.WHOLE, **request) as answer:
        return transport.read(await transport.read_reply(answer), schemas.ReinstallAnswer)
