"""The work of `cp`: a file or folder in or out, with progress, rate and the time left."""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pve402 import client
from pve402.cli import calls, credentials, terminal

_REMOTE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*):(/.*)", re.DOTALL)
_SHOWN_EVERY_SECONDS: Final = 0.2
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Place:
    """A path in a container."""

    lease: str
    path: str


def copy(
    url: str,
    token: str | None,
    source: str,
    target: str,
    *,
    is_recursive: bool,
    most_bytes: int,
    as_json: bool,
) -> None:
    """Copy one way or the other. Exits with 2 unless exactly one side is `LEASE:/PATH`."""
    here, there = _place(source), _place(target)
    if (here is None) == (there is None):
        terminal.misused("exactly one side must be in a container: LEASE:/PATH")
    progress, local = Progress(), Path(target)
    if here is not None and local.is_dir() and not is_recursive:
        local /= Path(here.path).name

    async def copied(service: client.Client) -> None:
        if there is not None:
            await _put(service, Path(source), there, is_recursive, progress)
        elif here is not None:
            await _get(service, here, local, is_recursive, most_bytes, progress)

    try:
        calls.run(credentials.holder(url, token), copied)
    finally:
        progress.clear()
    if as_json:
        terminal.show_facts(progress.facts)
    else:
        terminal.say(progress.summary)


async def _put(
    service: client.Client, source: Path, to: Place, is_recursive: bool, progress: "Progress"
) -> None:
    ctid = await client.names.resolve(service, to.lease)
    if is_recursive:
        done = await client.archives.put_folder(
            service, ctid, source, to.path, on_progress=progress.told
        )
    else:
        path = to.path + source.name if to.path.endswith("/") else to.path
        done = await client.files.put_file(service, ctid, source, path, on_progress=progress.told)
    progress.way = done.via


async def _get(
    service: client.Client,
    source: Place,
    to: Path,
    is_recursive: bool,
    most_bytes: int,
    progress: "Progress",
) -> None:
    ctid = await client.names.resolve(service, source.lease)
    if is_recursive:
        await client.archives.get_folder(
            service, ctid, source.path, to, most_bytes=most_bytes, on_progress=progress.told
        )
        return
    await client.files.get_file(
        service, ctid, source.path, to, most_bytes=most_bytes, on_progress=progress.told
    )


class Progress:
    """Shows how far a copy is, on a terminal only, and sums it up."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.way = "terminal"
        self._now = now
        self._began_at = now()
        self._shown_at = 0.0
        self._passed = 0
        self._shows = sys.stderr.isatty()

    def told(self, passed: int, of: int | None) -> None:
        """So many bytes have passed."""
        self._passed = passed
        now = self._now()
        if self._shows and now - self._shown_at >= _SHOWN_EVERY_SECONDS:
            self._shown_at = now
            whole = f" of {_size(of)}" if of else ""
            left = f", {_span(self._left_seconds(of))} left" if of else ""
            self._write(f"{_size(passed)}{whole}, {self._rate}{left}")

    def clear(self) -> None:
        """Remove the line."""
        if self._shows:
            self._write("")

    @property
    def summary(self) -> str:
        """How much it was, how fast, and which way it took."""
        way = "over the container's network" if self.way == "network" else "through its terminal"
        return f"{_size(self._passed)} in {self._seconds:.1f} s, {self._rate}, {way}"

    @property
    def facts(self) -> dict[str, object]:
        """The same for programs."""
        return {"bytes": self._passed, "seconds": round(self._seconds, 3), "via": self.way}

    @property
    def _seconds(self) -> float:
        return max(self._now() - self._began_at, 0.001)

    @property
    def _rate(self) -> str:
        return f"{_size(int(self._passed / self._seconds))}/s"

    def _left_seconds(self, of: int) -> float:
        return max(0, of - self._passed) * self._seconds / max(1, self._passed)

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()


def _place(text: str) -> Place | None:
    found = _REMOTE.fullmatch(text)
    return Place(lease=found[1], path=found[2]) if found else None


def _size(size_bytes: int) -> str:
    if size_bytes < _MEGABYTE / 10:
        return f"{size_bytes / 1000:.1f} KB"
    return f"{size_bytes / _MEGABYTE:.1f} MB"


def _span(seconds: float) -> str:
    """How long, as people read it: 42 s, 3:05 or 1:02:03; nobody waits for more than days."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(min(int(seconds), 99 * 3600), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
