"""Copy folders into and out of a container, as archives that the container's tar reads and writes.

async with client.Client("https://rent.example.com", token="...") as service:
    await client.archives.put_folder(service, "10001", Path("site"), "/srv/site")
"""

import gzip
import io
import itertools
import os
import shutil
import tarfile
import tempfile
import zlib
from contextlib import aclosing
from pathlib import Path
from typing import IO, Final

from pve402 import schemas
from pve402.client import entries, errors, files, threads
from pve402.client.client import Client

#: What one folder from a container may take on this machine, and how many files it may have.
LARGEST_FOLDER_BYTES: Final = 8 * 1024**3
MOST_FILES: Final = 1_000_000

_HEADERS_BYTES: Final = 2048  # of one file, usually
_LARGEST_PIECE_BYTES: Final = 1024 * 1024
#: What tarfile, gzip and the system's calls raise for bytes, names and times that they cannot use.
_NOT_AN_ARCHIVE: Final = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
)


async def put_folder(
    service: Client,
    ctid: str,
    local: Path,
    remote: str,
    *,
    on_progress: files.Progress | None = None,
) -> schemas.FileAnswer:
    """Copy what is in a folder into a folder of a container, which is made if need be.

    It is packed into a temporary file first. Raises FileTooLarge, OSError for local files, Refused,
    ServiceUnreachable, KeyNeeded.
    """
    with tempfile.NamedTemporaryFile(prefix="pve402-", suffix=".tar.gz") as packed:
        await threads.run(_pack, local, packed)
        await entries.make(service, ctid, remote, with_parents=True)
        async with files.opened(Path(packed.name)) as source:
            target = f"archives/{ctid}{entries.query(path=remote)}"
            return await files.send(service, ctid, target, source, on_progress)


async def get_folder(
    service: Client,
    ctid: str,
    remote: str,
    local: Path,
    *,
    most_bytes: int = LARGEST_FOLDER_BYTES,
    on_progress: files.Progress | None = None,
) -> int:
    """Copy what is in a folder of a container into a local folder, which is made if need be.

    Only what stays below the local folder is unpacked, and no owners, devices or set-id bits.
    Returns how many bytes came. Raises FileDamaged for an archive that tries anything else,
    FileTooLarge, OSError for local files, Refused, ServiceUnreachable, KeyNeeded.
    """
    target = f"archives/{ctid}{entries.query(path=remote, format='tar.gz')}"
    limit = files.LARGEST_FILE_BYTES
    incoming = files.receive(service, ctid, target, remote, limit, on_progress)
    with tempfile.TemporaryFile(prefix="pve402-") as packed:
        size = 0
        async with aclosing(incoming):
            async for chunk in incoming:
                size += await threads.run(packed.write, chunk)
        await threads.run(_unpack, packed, local, most_bytes)
    return size


def _pack(local: Path, packed: IO[bytes]) -> None:
    if not local.is_dir():
        raise NotADirectoryError(20, "is not a folder", str(local))
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
        archive.add(local, arcname=".")
    packed.flush()


def _unpack(packed: IO[bytes], local: Path, most_bytes: int) -> None:
    packed.seek(0)
    local.mkdir(parents=True, exist_ok=True)
    most_plain_bytes = most_bytes + MOST_FILES * _HEADERS_BYTES
    try:
        with (
            _Plain(packed, most_plain_bytes) as plain,
            tarfile.open(fileobj=plain, mode="r:") as archive,
        ):
            _unpack_members(archive, local, most_bytes)
    except _NOT_AN_ARCHIVE as error:
        raise errors.FileDamaged(
            f"the archive from the container cannot be unpacked: {errors.plain(error)}"
        ) from error


def _unpack_members(archive: tarfile.TarFile, local: Path, most_bytes: int) -> None:
    size = number = 0
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # or a million would be kept
        if member.size < 0:
            raise tarfile.ReadError("a size is negative")
        size, number = size + member.size, number + 1
        if size > most_bytes or number > MOST_FILES:
            raise errors.FileTooLarge(
                f"the folder has more than {most_bytes} bytes or {MOST_FILES} files"
            )
        place = _place(local, member.name, may_be_link=member.issym())
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if member.islnk():
            _link(place, _place(local, member.linkname))
        elif member.issym():
            _point(local, place, member.linkname)
        else:
            _write(place, member, archive.extractfile(member))


def _place(local: Path, name: str, *, may_be_link: bool = False) -> Path:
    """Return where a member goes, and refuse what a link may lead to.

    By itself, tarfile follows links that are too long for it to see where they lead, in all but its
    newest releases (CVE-2025-4517), and Debian 12's has no filters at all.
    """
    parts = [part for part in name.split("/") if part not in {"", "."}]
    places = list(itertools.accumulate(parts, Path.joinpath, initial=local))
    below = places[1 : len(parts) if may_be_link else None]
    if ".." in parts or any(place.is_symlink() for place in below):
        raise tarfile.ReadError(f"{name[:100]!r} may lead out of the folder")
    return places[-1]


def _link(place: Path, target: Path) -> None:
    """Make a hard link to a file that came before."""
    if not target.is_file():
        raise tarfile.ReadError("a hard link leads to no file")
    if not (place.exists() and place.samefile(target)):
        place.unlink(missing_ok=True)
        place.hardlink_to(target)


def _point(local: Path, place: Path, linkname: str) -> None:
    """Make a symbolic link that stays in the folder.

    No folder above it is a link, and the target is normalized, so that no other link decides where
    its `..` leads.
    """
    target = os.path.normpath(linkname)
    led = os.path.normpath(place.parent.relative_to(local) / target)
    if led.split("/")[0] in {"", ".."}:
        raise tarfile.ReadError(f"{place.name[:100]!r} leads out of the folder")
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _write(place: Path, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    """Write a file with its time and its mode; it stays readable and writable to its owner."""
    if content is None:
        raise tarfile.ReadError(f"{member.name[:100]!r} is neither a file nor a folder")
    with content, place.open("wb") as written:
        shutil.copyfileobj(content, written)
    executable = 0o111 if member.mode & 0o100 else 0
    place.chmod(member.mode & (0o644 | executable) | 0o600)
    os.utime(place, (member.mtime, member.mtime))


class _Plain(gzip.GzipFile):
    """What an archive unpacks to, read forwards in small pieces, up to a limit.

    By itself, tarfile reads a header into memory however long it says it is, and follows negative
    sizes backwards.
    """

    def __init__(self, packed: IO[bytes], most_bytes: int) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._most_bytes = most_bytes

    def read(self, size: int | None = -1) -> bytes:
        """Read at most so many bytes. Raises ReadError for too many at once."""
        if size is None or not 0 <= size <= _LARGEST_PIECE_BYTES:
            raise tarfile.ReadError("a header is too long")
        return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Skip what is before a position. Raises ReadError on the way back, FileTooLarge."""
        if whence != io.SEEK_SET:  # it only asks where it is
            return super().seek(offset, whence)
        if offset < self.tell():
            raise tarfile.ReadError("it leads backwards")
        if offset > self._most_bytes:
            raise errors.FileTooLarge(f"the archive has more than {self._most_bytes} bytes")
        return super().seek(offset, whence)
