"""Puts OCI images on nodes, and takes them away again; Proxmox VE 9.1 and later pulls them."""

import dataclasses
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from rich.console import Console

from pve402 import bootstrap
from pve402.domain import oci
from pve402.proxmox import errors as pve
from pve402.proxmox.storage import Storages
from pve402.proxmox.tasks import Tasks

EXIT_FAILED: Final = 1
_PULL_SECONDS: Final = 1800.0
_REMOVE_SECONDS: Final = 60.0
_TOO_OLD: Final = "this Proxmox VE pulls no OCI images; 9.1 is the first that does"
_BYTES_PER_MB: Final = 10**6

_Act = Callable[["_OnNode"], Awaitable[str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """An image, the storage for its file, and nodes; without any, all that we use."""

    reference: oci.Reference
    storage: str
    nodes: tuple[str, ...] = ()

    async def pull(self, parts: bootstrap.Components, console: Console) -> int:
        """Have each node pull the image, unless it has the file; 1 if one did not."""
        return await self._on_each(parts, console, _OnNode.pull)

    async def remove(self, parts: bootstrap.Components, console: Console) -> int:
        """Remove the image's file from each node; 1 if that failed on one."""
        return await self._on_each(parts, console, _OnNode.remove)

    async def _on_each(self, parts: bootstrap.Components, console: Console, act: _Act) -> int:
        names = self.nodes or await _nodes(parts)
        storages = Storages(parts.proxmox)
        failed = not names
        for name in names:
            place = _OnNode(
                node=name,
                storage=self.storage,
                reference=self.reference,
                storages=storages,
                tasks=Tasks(parts.proxmox),
            )
            try:
                console.print(f"{name}: {await act(place)}", soft_wrap=True, markup=False)
                if (await storages.status(name, self.storage)).shared:
                    break  # what one node has, all have
            except pve.CallNotSupported:
                failed = True
                sys.stderr.write(f"{name}: {_TOO_OLD}\n")
            except pve.ProxmoxError as error:
                failed = True
                sys.stderr.write(f"{name}: {_reason(error)}\n")
        return EXIT_FAILED if failed else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OnNode:
    """The image on one node."""

    node: str
    storage: str
    reference: oci.Reference
    storages: Storages
    tasks: Tasks

    @property
    def volume(self) -> str:
        """The file's volume id."""
        return f"{self.storage}:vztmpl/{self.reference.file_name}"

    async def pull(self) -> str:
        """Pull the image; says what is there in the end. Raises ProxmoxError."""
        found = await self._find()
        if found is not None:
            return f"has {found}; remove it first to get a newer one"
        upid = await self.storages.pull(self.node, self.storage, self.reference)
        await self.tasks.wait_until_finished(upid, limit_seconds=_PULL_SECONDS)
        found = await self._find()
        if found is None:
            raise pve.VolumeMissing("the task succeeded, but there is no file", subject=self.volume)
        return f"pulled {found}"

    async def remove(self) -> str:
        """Remove the file. Raises ProxmoxError."""
        upid = await self.storages.remove(self.node, self.volume)
        await self.tasks.wait_until_finished(upid, limit_seconds=_REMOVE_SECONDS)
        if await self._find() is not None:
            raise pve.FileExists("the task succeeded, but the file is there", subject=self.volume)
        return f"has no {self.volume}"

    async def _find(self) -> str | None:
        for one in await self.storages.templates(self.node, self.storage):
            if one.volid == self.volume:
                dated = f" of {one.created_at:%Y-%m-%d %H:%M} UTC" if one.created_at else ""
                return f"{one.volid}, {one.size_bytes / _BYTES_PER_MB:.1f} MB{dated}"
        return None


async def _nodes(parts: bootstrap.Components) -> tuple[str, ...]:
    chosen = parts.settings.pve_node
    seen = await parts.nodes.cluster_resources()
    return tuple(sorted(one.node for one in seen.nodes if chosen in ("", one.node)))


def _reason(error: pve.ProxmoxError) -> str:
    """What went wrong, in the words of the class and of Proxmox VE."""
    cause = error.cause if isinstance(error, pve.TaskFailed) else error
    usual = type(cause).message
    return usual if cause.message == usual else f"{usual.rstrip('.')}: {cause.message}"
