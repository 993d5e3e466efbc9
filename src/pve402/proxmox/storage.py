"""Storages: they hold guests' disks and the templates that guests are created from."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from pve402.domain import oci
from pve402.proxmox import answers, guest_views, parameters, shapes
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.upid import Upid


@dataclass(frozen=True, kw_only=True)
class StorageStatus:
    """A storage on one node; bytes, None if unknown."""

    storage: str
    type: str
    active: bool
    enabled: bool
    shared: bool
    content: frozenset[str]
    used: int | None
    total: int | None
    available: int | None


@dataclass(frozen=True, kw_only=True)
class Template:
    """A container template; `volid` is what `GuestSpec.template` takes."""

    volid: str
    size_bytes: int
    created_at: datetime | None

    @property
    def digest(self) -> str:
        """What differs after its file was replaced."""
        changed = None if self.created_at is None else self.created_at.timestamp()
        text = json.dumps([self.volid, self.size_bytes, changed])
        return hashlib.sha256(text.encode()).hexdigest()


class Storages:
    """Inspects the storages of a node.

    Lists and status need Datastore.AllocateSpace or Datastore.Audit.
    """

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def list(self, node: str, *, content: str | None = None) -> tuple[StorageStatus, ...]:
        """The node's storages visible to us; with `content`, only those that can hold it."""
        call = answers.Call(method="GET", path=parameters.api_path("nodes", node, "storage"))
        data = await self._client.call("GET", call.path, {"content": content})
        rows = shapes.as_rows(data, call)
        return tuple(_status(shapes.text(row, "storage", call), row) for row in rows)

    async def status(self, node: str, storage: str) -> StorageStatus:
        """One storage's figures. Raises StorageMissing, PermissionDenied."""
        path = parameters.api_path("nodes", node, "storage", storage, "status")
        data = await self._client.call("GET", path)
        return _status(storage, shapes.as_object(data, answers.Call(method="GET", path=path)))

    async def templates(self, node: str, storage: str) -> tuple[Template, ...]:
        """The container templates on a storage. Raises StorageMissing, PermissionDenied."""
        path = parameters.api_path("nodes", node, "storage", storage, "content")
        call = answers.Call(method="GET", path=path)
        data = await self._client.call("GET", path, {"content": "vztmpl"})
        rows = shapes.as_rows(data, call)
        return tuple(_template(row, call) for row in rows if row.get("content") == "vztmpl")

    async def pull(self, node: str, storage: str, reference: oci.Reference) -> Upid:
        """Have the node copy an image from its registry; the file is there once the task is `OK`.

        Needs Datastore.AllocateTemplate on the storage and Sys.AccessNetwork on the node, and knows
        no credentials. Of two pulls at once the last one wins. Nobody checks the architecture, and
        neither list nor file shows it to us: a guest's `arch` is that of its /bin/sh where Proxmox
        VE knows the system, otherwise a guess (PVE/LXC/Setup.pm).

        Raises FileExists, StorageMissing, PermissionDenied, CallNotSupported before Proxmox VE 9.1.
        The task fails with ImageMissing, ImageRefused, RegistryUnreachable or StorageFull.
        """
        path = parameters.api_path("nodes", node, "storage", storage, "oci-registry-pull")
        params = {
            "reference": str(reference),
            "filename": reference.file_name.removesuffix(".tar"),
        }
        data = await self._client.call("POST", path, params)
        return guest_views.upid(data, answers.Call(method="POST", path=path))

    async def remove(self, node: str, volid: str) -> Upid:
        """Have a template removed; one that is gone is no error. Needs Datastore.Allocate."""
        storage = volid.partition(":")[0]
        path = parameters.api_path("nodes", node, "storage", storage, "content", volid)
        data = await self._client.call("DELETE", path)
        return guest_views.upid(data, answers.Call(method="DELETE", path=path))


def _status(storage: str, fields: shapes.Fields) -> StorageStatus:
    return StorageStatus(
        storage=storage,
        active=bool(shapes.optional_whole(fields, "active")),
        type=shapes.optional_text(fields, "type"),
        enabled=bool(shapes.optional_whole(fields, "enabled")),
        shared=bool(shapes.optional_whole(fields, "shared")),
        content=frozenset(shapes.optional_text(fields, "content").split(",")) - {""},
        used=shapes.optional_whole(fields, "used"),
        total=shapes.optional_whole(fields, "total"),
        available=shapes.optional_whole(fields, "avail"),
    )


def _template(row: shapes.Fields, call: answers.Call) -> Template:
    created = shapes.optional_whole(row, "ctime")
    return Template(
        volid=shapes.text(row, "volid", call),
        size_bytes=shapes.optional_whole(row, "size") or 0,
        created_at=None if created is None else _moment(created),
    )


def _moment(seconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None
