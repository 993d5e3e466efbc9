"""Storages: volumes, templates, room, and what the log of a new volume says."""

import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pve402_devnet.pve import errors, formats, options

_BLOCK, _SMALL_BLOCK = 4096, 1024
_SMALL_BYTES = 512 * 1024**2  # below this, mkfs.ext4 takes small blocks
_BYTES_PER_INODE_IF_SMALL = 4096
_USED_WHEN_FORMATTED = 36_827_136
_TEMPLATE = re.compile(r"vztmpl/([^/]+\.(?:tar\.(?:gz|xz|zst|bz2)|tar))")
_BACKUP = re.compile(r"backup/([^/]+\.(?:tgz|tar(?:\.(?:gz|lzo|zst|bz2))?|vma(?:\.\w+)?))")
_LOGICAL = re.compile(r"(?:vm|base)-(\d+)-\S+")
_IMAGE = re.compile(r"(\d+)/(\S+\.(?:raw|qcow2|vmdk|subvol))")


@dataclass(frozen=True, kw_only=True)
class VolumeName:
    """The part of a volume id after the colon, parsed."""

    content: str
    name: str
    owner: int | None = None


@dataclass(kw_only=True)
class Volume:
    """A guest's disk."""

    name: str
    owner: int
    size_bytes: int
    used_bytes: int
    created_at: int

    @property
    def is_subvolume(self) -> bool:
        """A plain directory instead of an image; it has no size limit."""
        return self.name.endswith(".subvol")


class Storage:
    """One storage and its content."""

    def __init__(
        self, chosen: options.StorageOptions, templates: Iterable[options.TemplateOptions]
    ) -> None:
        self.options = chosen
        self.templates = {t.name: t for t in templates if t.storage == chosen.name}
        self.volumes: dict[str, Volume] = {}
        self.full = False

    @property
    def name(self) -> str:
        """The storage's id."""
        return self.options.name

    @property
    def used_bytes(self) -> int:
        """Room taken, volumes included."""
        pulled = sum(t.size_bytes for t in self.templates.values() if t.image is not None)
        return self.options.used_bytes + pulled + sum(v.used_bytes for v in self.volumes.values())

    @property
    def available_bytes(self) -> int:
        """Room left."""
        return 0 if self.full else max(0, self.options.total_bytes - self.used_bytes)

    def is_on(self, node: str) -> bool:
        """Return whether a node has this storage."""
        return not self.options.nodes or node in self.options.nodes

    @property
    def is_lvm(self) -> bool:
        """Whether disks are logical volumes rather than files."""
        return self.options.type == "lvmthin"

    def understand(self, name: str) -> VolumeName:
        """Parse the name of a volume on this storage; raises `errors.Failure`."""
        if not self.is_lvm:
            return parse_volume_name(name)
        match = _LOGICAL.fullmatch(name)
        if match is None:
            raise errors.Failure(f"unable to parse lvm volume name '{name}'")
        return VolumeName(content="images", name=name, owner=int(match[1]))

    def path(self, volume: str) -> str:
        """The file or device of a volume named as in `Volume.name`."""
        if self.is_lvm:
            return f"/dev/{self.options.volume_group}/{volume}"
        return f"{self.options.path}/images/{volume}"

    def template_path(self, name: str) -> str:
        """The file of a template."""
        return f"{self.options.path}/template/cache/{name}"

    def require_templates(self) -> None:
        """Raise `errors.Failure` where templates cannot be kept."""
        if self.is_lvm:
            kind = self.options.type
            raise errors.Failure(
                f"can't upload to storage type '{kind}', not a file based storage!"
            )
        if "vztmpl" not in self.options.content:
            raise errors.Failure(
                f"storage '{self.name}' is not configured for content-type 'vztmpl'"
            )

    def allocate(self, vmid: int, size_bytes: int, now: float) -> Volume:
        """Make a new volume under the first free name; a size of 0 makes a subvolume."""
        number = next(n for n in range(1000) if not self._is_taken(vmid, n))
        name = self._new_name(vmid, number, size_bytes)
        used = _USED_WHEN_FORMATTED if size_bytes else 0
        volume = Volume(
            name=name, owner=vmid, size_bytes=size_bytes, used_bytes=used, created_at=int(now)
        )
        self.volumes[name] = volume
        return volume

    def free(self, name: str) -> None:
        """Remove a volume; an unknown one is no error."""
        self.volumes.pop(name, None)

    def _new_name(self, vmid: int, number: int, size_bytes: int) -> str:
        if self.is_lvm:
            return f"vm-{vmid}-disk-{number}"
        if size_bytes:
            return f"{vmid}/vm-{vmid}-disk-{number}.raw"
        return f"{vmid}/subvol-{vmid}-disk-{number}.subvol"

    def _is_taken(self, vmid: int, number: int) -> bool:
        marker = re.compile(rf"-disk-{number}(\.|$)")
        return any(v.owner == vmid and marker.search(name) for name, v in self.volumes.items())


class Storages:
    """All storages of the cluster."""

    def __init__(self, chosen: options.SimulatorOptions) -> None:
        self._by_name = {s.name: Storage(s, chosen.templates) for s in chosen.storages}

    def __iter__(self) -> Iterator[Storage]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Storage | None:
        """Look a storage up."""
        return self._by_name.get(name)

    def require(self, name: str, node: str) -> Storage:
        """Look a storage up on a node; raises `errors.Failure` if it is not there."""
        storage = self._by_name.get(name)
        if storage is None:
            raise errors.Failure(f"storage '{name}' does not exist")
        if not storage.is_on(node):
            raise errors.Failure(f"storage '{name}' is not available on node '{node}'")
        return storage

    def volume(self, volume_id: str) -> tuple[Storage, Volume] | None:
        """Find a guest's volume by its id."""
        name, _, rest = volume_id.partition(":")
        storage = self._by_name.get(name)
        volume = storage.volumes.get(rest) if storage else None
        return (storage, volume) if storage and volume else None

    def free_all_of(self, vmid: int) -> None:
        """Remove every volume of a guest."""
        for storage in self._by_name.values():
            for name in [n for n, v in storage.volumes.items() if v.owner == vmid]:
                storage.free(name)


def split_volume_id(text: str) -> tuple[str, str] | None:
    """Split `storage:name`; None if the text is not a volume id."""
    storage, separator, name = text.partition(":")
    if not separator or not name or re.fullmatch(r"[a-zA-Z][\w.-]*[a-zA-Z0-9]", storage) is None:
        return None
    return storage, name


def parse_volume_name(name: str) -> VolumeName:
    """Parse the name of a volume on a directory storage; raises `errors.Failure`."""
    if match := _IMAGE.fullmatch(name):
        return VolumeName(content="images", name=match[2], owner=int(match[1]))
    if match := re.fullmatch(r"iso/([^/]+\.(?:iso|img))", name, re.IGNORECASE):
        return VolumeName(content="iso", name=match[1])
    if match := _TEMPLATE.fullmatch(name):
        return VolumeName(content="vztmpl", name=match[1])
    if match := _BACKUP.fullmatch(name):
        owner = re.match(r"vzdump-(?:lxc|qemu|openvz)-(\d+)-", match[1])
        return VolumeName(content="backup", name=match[1], owner=int(owner[1]) if owner else None)
    if match := re.fullmatch(r"snippets/([^/]+)", name):
        return VolumeName(content="snippets", name=match[1])
    raise errors.Failure(f"unable to parse directory volume name '{name}'")


def allocation_log(storage: Storage, volume: Volume) -> list[str]:
    """What a worker's log says when it makes and formats an image."""
    path = storage.path(volume.name)
    made = {
        "dir": [f"Formatting '{path}', fmt=raw size={volume.size_bytes} preallocation=off"],
        "lvmthin": [
            f'  Logical volume "{volume.name}" created.',
            f"  Logical volume {storage.options.volume_group}/{volume.name} changed.",
        ],
    }
    return [*made.get(storage.options.type, []), *format_log(volume.size_bytes)]


def format_log(size_bytes: int) -> list[str]:
    """What mkfs.ext4 says of a new file system; of a single group it says little."""
    block = _SMALL_BLOCK if size_bytes < _SMALL_BYTES else _BLOCK
    blocks = size_bytes // block
    inodes = size_bytes // _BYTES_PER_INODE_IF_SMALL if block == _SMALL_BLOCK else blocks // 4
    lines = [f"Creating filesystem with {blocks} {block // 1024}k blocks and {inodes} inodes"]
    backups = _superblock_lines(blocks, block)
    if backups:
        lines += [f"Filesystem UUID: {uuid.uuid4()}", "Superblock backups stored on blocks: "]
    return lines + backups


def creation_problem(storage: Storage, volume: Volume) -> str | None:
    """Why an image cannot be created, in qemu-img's or lvcreate's words; None if it can."""
    path = storage.path(volume.name)
    if storage.is_lvm:
        return _lvm_problem(storage, volume)
    if volume.size_bytes > storage.options.largest_volume_bytes:
        why = "The image size is too large for file format 'raw'"
        return f"unable to create image: qemu-img: {path}: {why}"
    if storage.full:
        return f"unable to create image: qemu-img: {path}: No space left on device"
    return None


def _lvm_problem(storage: Storage, volume: Volume) -> str | None:
    group = storage.options.volume_group
    prefix = f"lvcreate '{group}/{volume.name}' error:"
    if not volume.size_bytes:
        return f"{prefix} Invalid argument 0k for --virtualsize."
    if storage.full:
        return (
            f"{prefix} Cannot create new thin volume, free space in thin pool {group}/data"
            " reached threshold."
        )
    return None


def human_size(size_bytes: int) -> str:
    """Write a size the way tar's totals do."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}GiB"


def _superblock_lines(blocks: int, block: int) -> list[str]:
    group, first = 8 * block, int(block == _SMALL_BLOCK)
    groups = {1}
    for base in (3, 5, 7):
        power = base
        while power * group < blocks:
            groups.add(power)
            power *= base
    numbers = [str(g * group + first) for g in sorted(groups) if g * group + first < blocks]
    return ["\t" + ", ".join(numbers)] if numbers else []


def parse_new_disk(size_gb: str) -> int:
    """Turn the GiB of a new volume into bytes, in whole MiB, as Proxmox rounds."""
    return int(float(size_gb) * 1024) * 1024 * 1024


def size_of(text: str) -> int:
    """Read a text that is known to be a size."""
    return formats.parse_size(text) or 0
