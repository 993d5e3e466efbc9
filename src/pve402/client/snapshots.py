"""Snapshots of a container.

async with client.Client("https://rent.example.com", token="...") as service:
    await client.snapshots.take(service, "10001", "before-upgrade")
    await client.snapshots.roll_back(service, "10001", "before-upgrade")
"""

from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from pve402 import schemas
from pve402.client import transport
from pve402.client.client import Client

Answer = TypeVar("Answer", bound=BaseModel)


async def show(service: Client, ctid: str) -> schemas.SnapshotsAnswer:
    """What snapshots there are, and whether more can be taken.

    Raises KeyNeeded, Refused, ServiceUnreachable.
    """
    return await _call(service, "GET", ctid, "", schemas.SnapshotsAnswer)


async def take(service: Client, ctid: str, name: str) -> schemas.SnapshotItem:
    """Take a snapshot of the disk; the container runs on. Raises as `show`."""
    wish = transport.document(schemas.SnapshotRequest(name=name))
    return await _call(service, "POST", ctid, "", schemas.SnapshotItem, document=wish)


async def delete(service: Client, ctid: str, name: str) -> schemas.SnapshotsAnswer:
    """Delete a snapshot; returns those that are left. Raises as `show`."""
    return await _call(service, "DELETE", ctid, f"/{_in_path(name)}", schemas.SnapshotsAnswer)


async def roll_back(service: Client, ctid: str, name: str) -> schemas.SnapshotItem:
    """Give the container its disk of then; it stops for that. Raises as `show`."""
    path = f"/{_in_path(name)}/rollback"
    return await _call(service, "POST", ctid, path, schemas.SnapshotItem)


def _in_path(name: str) -> str:
    return quote(name, safe="") or "-"


async def _call(
    service: Client, method: str, ctid: str, rest: str, answered: type[Answer], **request: Any
) -> Answer:
    path = f"/lease/{ctid}/snapshots{rest}"
    async with service.opened(method, path, ctid, timeout=transport.WHOLE, **request) as answer:
        return transport.read(await transport.read_reply(answer), answered)
