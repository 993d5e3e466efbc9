"""Files and folders of a guest as entries: listed, described, made, moved, removed, changed.

Paths and names are bytes: a guest's names may hold anything but NUL and `/`. Links above an entry
are followed, as by every program; the entry itself is taken as it is, even if it is a link. Only
`page` looks where a link leads to, and it never enters a link below the folder. A page is bounded
in entries and bytes; the guest's shell sorts the names of one folder at each level.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pve402.hub import errors, guest_scripts
from pve402.hub.hub import Hub
from pve402.hub.request import ExecResult
from pve402.proxmox.guests import GuestRef

LARGEST_PAGE: Final = 1000
DEEPEST: Final = 8
LONGEST_PATH_BYTES: Final = 4096

_PAGE_BYTES: Final = 2 * 1024 * 1024  # the script stops far below
_LONG_SECONDS: Final = 200.0  # for large folders, and moves to another file system
_FACTS: Final = re.compile(rb"([0-9a-f]{1,8}) (\d{1,20}) (\d{1,10}) (\d{1,10}) (-?\d{1,20})")
_OWNER: Final = re.compile(r"(?:\w[\w.-]{0,31})?(?::\w[\w.-]{0,31})?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file, folder, link or something else; `modified_at_s` is in Unix time.

    name: below the listed folder, or the whole path where one entry was asked for.
    target: where a link leads to; unknown in a list.
    """

    name: bytes
    type_and_mode: int
    size_bytes: int
    uid: int
    gid: int
    modified_at_s: int
    target: bytes | None = None

    @property
    def kind(self) -> str:
        """One of `file`, `folder`, `link`, `other`."""
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
        return kinds.get(stat.S_IFMT(self.type_and_mode), "other")

    @property
    def mode(self) -> int:
        """The permissions, with the set-id and sticky bits."""
        return stat.S_IMODE(self.type_and_mode)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a listing: each folder before what is in it. `after` leads on, if there is more."""

    entries: tuple[Entry, ...]
    after: bytes | None


class Entries:
    """Works on files and folders in guests as root."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def page(
        self, guest: GuestRef, path: bytes, *, depth: int, limit: int, after: bytes = b""
    ) -> Page:
        """List a folder; `after` is the name where the last page ended.

        Entries made or removed between pages change nothing for the others. Raises FileMissing,
        NotAFolder, FileRefused, OutputDamaged, RequestRefused.
        """
        check_path(path, may_be_root=True)
        if not (1 <= depth <= DEEPEST and 1 <= limit <= LARGEST_PAGE):
            raise errors.RequestRefused("depth or limit is out of bounds")
        check_after(after, depth)
        keys = map(_key, after.split(b"/"))
        done = await self._run(guest, "list", path, str(depth), str(limit), *keys)
        entries, has_more = _read_page(done.stdout)
        last = entries[-1].name if entries else after
        return Page(entries=entries, after=last if has_more else None)

    async def look(self, guest: GuestRef, path: bytes) -> Entry:
        """Describe one entry. Raises FileMissing, FileRefused, OutputDamaged."""
        check_path(path, may_be_root=True)
        facts, _, rest = (await self._run(guest, "stat", path)).stdout.partition(b"\n")
        entry = _entry(path, facts, rest.removesuffix(b"\n"))
        if (entry.kind == "link") != bool(rest):
            raise errors.OutputDamaged
        return entry

    async def make(
        self, guest: GuestRef, path: bytes, *, mode: int = 0o755, with_parents: bool = False
    ) -> None:
        """Make a folder. With parents, they get 0755, and a folder that is there is fine.

        Raises FileExists, FileMissing (no folder to make it in), FileRefused.
        """
        check_path(path)
        await self._run(guest, "make", path, _octal(mode), _flag(with_parents))

    async def move(
        self, guest: GuestRef, path: bytes, to: bytes, *, replaces: bool = False
    ) -> None:
        """Give an entry another path. A folder cannot be replaced.

        Raises FileExists, FileMissing, FileRefused.
        """
        check_path(path)
        check_path(to)
        await self._run(guest, "move", path, _text(to), _flag(replaces))

    async def remove(self, guest: GuestRef, path: bytes, *, is_recursive: bool = False) -> None:
        """Remove an entry; a folder with something in it only if recursive.

        Raises FileMissing, FolderNotEmpty, FileRefused; then a part may be gone.
        """
        check_path(path)
        await self._run(guest, "remove", path, _flag(is_recursive))

    async def change(
        self, guest: GuestRef, path: bytes, *, mode: int | None = None, owner: str = ""
    ) -> None:
        """Set mode and owner (`USER`, `USER:GROUP` or `:GROUP`, names of the guest or numbers).

        Raises FileMissing, FileRefused, RequestRefused.
        """
        check_path(path)
        check_owner(owner)
        mode_text = "-" if mode is None else _octal(mode)
        await self._run(guest, "set", path, mode_text, owner or "-")

    async def _run(self, guest: GuestRef, what: str, path: bytes, *more: str) -> ExecResult:
        request = guest_scripts.request(
            "entries",
            what,
            _text(path),
            *more,
            output_limit_bytes=_PAGE_BYTES,
            timeout_seconds=_LONG_SECONDS,
        )
        return _checked(await self._hub.exec(guest, request))


def check_path(path: bytes, *, may_be_root: bool = False) -> None:
    """Check an absolute path of an entry. Raises RequestRefused."""
    if may_be_root and path == b"/":
        return
    if not path.startswith(b"/") or b"\0" in path or len(path) > LONGEST_PATH_BYTES:
        raise errors.RequestRefused("the path must be absolute and at most 4,096 bytes long")
    if path.rpartition(b"/")[2] in {b"", b".", b".."}:
        raise errors.RequestRefused("the path must end with the name of a file or folder")


def check_after(after: bytes, depth: int) -> None:
    """Check where a page is to begin. Raises RequestRefused."""
    if b"\0" in after or len(after) > LONGEST_PATH_BYTES or after.count(b"/") >= depth:
        raise errors.RequestRefused("after must be as the last page of the same list gave it")


def check_owner(owner: str) -> None:
    """Check the form of an owner; only the guest knows its names. Raises RequestRefused."""
    if not _OWNER.fullmatch(owner):
        raise errors.RequestRefused("the owner must be USER, USER:GROUP or :GROUP")


def _key(part: bytes) -> str:
    """A part of a name, behind the place of its kind: x, then .x, then ..x."""
    rank = 2 if part.startswith(b"..") else 1 if part.startswith(b".") else 0
    return f"{rank}{_text(part)}" if part else ""


def _read_page(output: bytes) -> tuple[tuple[Entry, ...], bool]:
    body, end = output[:-1], output[-1:]
    if end not in {b".", b"+"}:
        raise errors.OutputDamaged
    return tuple(_blocks(body)), end == b"+"


def _blocks(body: bytes) -> Iterator[Entry]:
    """Read blocks of facts, one per line, and after NUL as many names, each ended by NUL."""
    start = 0
    while start < len(body):
        middle = body.find(b"\n\0", start)
        facts = body[start:middle].split(b"\n")
        start = middle + 2
        for line in facts:
            end = body.find(b"\0", start)
            if middle < 0 or end < 0 or body[start : start + 2] != b"./":
                raise errors.OutputDamaged
            yield _entry(body[start + 2 : end], line)
            start = end + 1


def _entry(name: bytes, facts: bytes, target: bytes = b"") -> Entry:
    found = _FACTS.fullmatch(facts)
    if not found or not name:
        raise errors.OutputDamaged
    return Entry(
        name=name,
        type_and_mode=int(found[1], 16),
        size_bytes=int(found[2]),
        uid=int(found[3]),
        gid=int(found[4]),
        modified_at_s=int(found[5]),
        target=target or None,
    )


def _checked(result: ExecResult) -> ExecResult:
    if result.timed_out:
        raise errors.FileRefused("This took too long and was stopped; part of it may be done.")
    if result.truncated:
        raise errors.OutputDamaged
    match result.exit_code:
        case 0:
            return result
        case 20:
            raise errors.FileMissing("There is no such file or folder in the guest.")
        case 23:
            raise errors.FileMissing("There is no such folder in the guest; create it first.")
        case 24:
            raise errors.NotAFolder
        case 25:
            raise errors.FileExists
        case 26:
            raise errors.FolderNotEmpty
        case 27:
            raise errors.FileRefused("A symbolic link has no mode of its own.")
        case _:
            raise errors.FileRefused


def _octal(mode: int) -> str:
    """Five digits: with fewer, `chmod` keeps a folder's set-id bits."""
    return f"{mode & 0o7777:05o}"


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _text(value: bytes) -> str:
    """Bytes as a word of a command."""
    return value.decode("utf-8", "surrogateescape")
