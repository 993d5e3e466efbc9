"""Our script in a container: files, folders, users and signals, as E2B's agent would handle them.

Paths are text, as E2B's API sends them; a relative one starts in the user's home.
"""

import base64
import posixpath
import re
import stat
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from pve402 import client, schemas
from pve402.client import threads
from pve402.e2b import refusals
from pve402.sdk import wishes

_SCRIPT, _SUDO = (
    resources.files("pve402.e2b").joinpath(name).read_text() for name in ("guest.sh", "sudo.sh")
)
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_FACTS: Final = re.compile(
    r"([0-9a-f]{1,8}) (\d{1,19}) (\S+) (\S+) (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)?.*",
    re.ASCII,
)
_MODE: Final = re.compile(r"[0-9a-f]{1,8}")
_LONGEST_PATH: Final = 4096
_SECONDS: Final = 50.0
_DEEPEST: Final = 100
_REFUSALS: Final = {
    44: ("not_found", "{} does not exist"),
    45: ("invalid_argument", "{} is not a folder, or something is in its way"),
    46: ("already_exists", "{} is a folder that exists already"),
    47: ("unauthenticated", "the container has no user {}"),
}
_TYPES: Final = {stat.S_IFREG: "FILE_TYPE_FILE", stat.S_IFDIR: "FILE_TYPE_DIRECTORY"}

_Entries = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user of the container; `owner` is what chown takes."""

    name: str
    owner: str
    home: str

    def path(self, text: str) -> str:
        """The absolute path of what the user calls so. Raises Refused."""
        if "\0" in text or len(text) > _LONGEST_PATH:
            raise refusals.Refused("invalid_argument", "the path is not valid or too long")
        if text == "~" or text.startswith("~/"):
            text = self.home + text[1:]
        return "/" + posixpath.normpath(posixpath.join(self.home, text)).lstrip("/")


class Guest:
    """One container."""

    def __init__(self, service: client.Client, lease_id: str) -> None:
        self.service = service
        self.lease_id = lease_id
        self._people: dict[str, Person] = {}

    async def set_up(self) -> None:
        """Make the user that E2B's programs expect, with bash and a home."""
        said = _text(await self._run("user", "set-up", _SUDO)).splitlines()
        for name, line in zip(("user", "root"), said, strict=False):
            self._people[name] = _person(name, line)

    async def person(self, name: str) -> Person:
        """Look a user up. Raises Refused."""
        if name not in self._people:
            if not _USER.fullmatch(name):
                raise refusals.Refused("unauthenticated", "the user's name is not valid")
            said = await self._run(name, "person", name)
            self._people[name] = _person(name, _text(said))
        return self._people[name]

    async def stat(self, path: str) -> dict[str, Any]:
        """Describe a file or folder."""
        return await self._only("stat", path)

    async def list(self, path: str, depth: int) -> list[dict[str, Any]]:
        """List a folder, each entry behind its folder."""
        if not 0 < depth <= _DEEPEST:
            raise refusals.Refused("invalid_argument", "depth should be at least 1, at most 100")
        return await self._entries("list", path, str(depth))

    async def make_folder(self, path: str, person: Person) -> dict[str, Any]:
        """Make a folder and those above it."""
        return await self._only("make", path, person.owner)

    async def move(self, path: str, to: str, person: Person) -> dict[str, Any]:
        """Move or rename."""
        return await self._only("move", path, to, person.owner)

    async def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing there is fine."""
        await self._run(path, "remove", path)

    async def write(self, path: str, data: bytes, person: Person) -> None:
        """Write a small file."""
        await self._run(path, "write", path, person.owner, stdin=data)

    async def prepare(self, path: str, person: Person) -> None:
        """Make the folders above a file that is about to come."""
        await self._run(path, "prepare", path, person.owner)

    async def own(self, path: str, person: Person) -> None:
        """Give a file to its user."""
        await self._run(path, "own", path, person.owner)

    async def signal(self, pid: int, name: str) -> None:
        """Signal a process and its group; it may be gone already."""
        await self._run(str(pid), "signal", str(pid), name, may_fail=True)

    async def resize(self, pid: int, columns: int, rows: int) -> None:
        """Set the size of a process's terminal."""
        await self._run(str(pid), "resize", str(pid), str(columns), str(rows), may_fail=True)

    async def _only(self, act: str, path: str, *words: str) -> dict[str, Any]:
        found = await self._entries(act, path, *words)
        if not found:
            raise refusals.Refused("not_found", "it does not exist any more")
        return found[0]

    async def _entries(self, act: str, path: str, *words: str) -> _Entries:
        """Read what is told of files in a thread: a container may tell much."""
        return await threads.run(_entries, await self._run(path, act, path, *words))

    async def _run(
        self, about: str, *words: str, stdin: bytes | None = None, may_fail: bool = False
    ) -> bytes:
        wish = wishes.checked(
            schemas.ExecRequest,
            argv=["sh", "-c", _SCRIPT, "pve402", *words],
            stdin=None if stdin is None else base64.b64encode(stdin).decode(),
            encoding="base64",
            max_output_bytes=schemas.MAX_OUTPUT_BYTES,
            timeout_seconds=_SECONDS,
        )
        answer = await client.commands.run(self.service, self.lease_id, wish)
        if answer.truncated:
            raise refusals.Refused("resource_exhausted", "there are too many entries to list")
        if answer.exit_code and not may_fail:
            raise _failed(answer, about)
        return _bytes(answer.stdout)


def _failed(answer: schemas.ExecAnswer, about: str) -> refusals.Refused:
    if answer.exit_code in _REFUSALS:
        code, text = _REFUSALS[answer.exit_code]
        return refusals.Refused(code, text.format(client.plain(about, 200)))
    said = _text(_bytes(answer.stderr)).strip()
    return refusals.Refused("internal", client.plain(said or "it failed in the container", 200))


def _person(name: str, line: str) -> Person:
    owner, _, home = line.strip().partition(" ")
    return Person(name=name, owner=owner, home=home if home.startswith("/") else "/")


def _bytes(said: str) -> bytes:
    try:
        return base64.b64decode(said)
    except ValueError:
        raise client.UnexpectedAnswer("what the command wrote cannot be read") from None


def _text(said: bytes) -> str:
    return said.decode(errors="replace")


class _Told:
    """What the script tells of files, read in time that grows with its length alone."""

    def __init__(self, told: bytes) -> None:
        self._told = told
        self._at = 0

    @property
    def has_more(self) -> bool:
        """Whether there is something left."""
        return self._at < len(self._told)

    def until(self, end: bytes) -> str:
        """Take what stands before the next `end`. Raises ValueError if there is none."""
        stop = self._told.index(end, self._at)
        piece = self._told[self._at : stop]
        self._at = stop + 1
        return _text(piece)


def _entries(said: bytes) -> _Entries:
    """Read what the script tells of files, each behind its folder. Raises Refused for nonsense."""
    told = _Told(said)
    found: _Entries = []
    try:
        while told.has_more:
            lines = [told.until(b"\n") for _ in range(int(told.until(b"\n")))]
            for line in lines:
                path, link = told.until(b"\0"), told.until(b"\0")
                if line != "-":  # gone while we looked
                    found.append(_entry(line, path, link))
    except ValueError:
        raise refusals.Refused("internal", "the container's answer cannot be read") from None
    return sorted(found, key=lambda entry: entry["path"].split("/"))


def _entry(line: str, path: str, link: str) -> dict[str, Any]:
    facts = _FACTS.fullmatch(line)
    if facts is None:
        raise ValueError("these are no facts")
    mode, size, owner, group, day, time, part = facts.groups()
    raw = int(mode, 16)
    target, _, target_mode = link.rpartition(" ")
    kind = stat.S_IFMT(int(target_mode, 16) if _MODE.fullmatch(target_mode) else raw)
    entry = {
        "name": posixpath.basename(path),
        "type": _TYPES.get(kind, "FILE_TYPE_SYMLINK" if link else "FILE_TYPE_UNSPECIFIED"),
        "path": path,
        "size": size,
        "mode": stat.S_IMODE(raw),
        "permissions": stat.filemode(raw),
        "owner": owner,
        "group": group,
        "modifiedTime": f"{day}T{time}{(part or '')[:10]}Z",
    }
    return {**entry, "symlinkTarget": target} if target else entry
