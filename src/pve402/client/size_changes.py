"""Another size for a container.

async with client.Client("https://rent.example.com", token="...") as service:
    seen = await client.size_changes.quote(service, "10001", cores=4)
    await client.size_changes.change(service, "10001", cores=4, allow_restart=True)
"""

from typing import Any

from pve402 import schemas
from pve402.client import transport
from pve402.client.client import Client


async def show(service: Client, ctid: str) -> schemas.ChangeAnswer:
    """The latest change, and how far it is. Raises KeyNeeded, Refused, ServiceUnreachable."""
    return await _call(service, "GET", ctid)


async def quote(
    service: Client,
    ctid: str,
    *,
    cores: int | None = None,
    memory_mb: int | None = None,
    disk_gb: int | None = None,
) -> schemas.ChangeAnswer:
    """What another size would cost, and when the lease would end. Raises as `show`."""
    wish = schemas.ChangeRequest(cores=cores, memory_mb=memory_mb, disk_gb=disk_gb, quote=True)
    return await _call(service, "POST", ctid, document=transport.document(wish))


async def change(
    service: Client,
    ctid: str,
    *,
    cores: int | None = None,
    memory_mb: int | None = None,
    disk_gb: int | None = None,
    allow_restart: bool = False,
) -> schemas.ChangeAnswer:
    """Change the size; what is not given stays. A change that takes long is `changing`.

    With `allow_restart`, the container is stopped and started if need be. Raises as `show`.
    """
    wish = schemas.ChangeRequest(
        cores=cores, memory_mb=memory_mb, disk_gb=disk_gb, allow_restart=allow_restart
    )
    return await _call(service, "POST", ctid, document=transport.document(wish))


async def _call(service: Client, method: str, ctid: str, **request: Any) -> schemas.ChangeAnswer:
    path = f"/lease/{ctid}/change"
    async with service.opened(method, path, ctid, timeout=transport.WHOLE, **request) as answer:
        return transport.read(await transport.read_reply(answer), schemas.ChangeAnswer)
