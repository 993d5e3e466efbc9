"""Starts the devnet and the server as processes for the demo, and ends them by their ids."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
from dotenv import dotenv_values

_START_LIMIT_SECONDS: Final = 90.0
_REMOVALS: Final = 20
_STOP_LIMIT_SECONDS: Final = 40.0
_INTERRUPTED_STOP_LIMIT_SECONDS: Final = (
    0.8  # for either part: the server needs longer, to finish its requests
)
_PR_SET_PDEATHSIG: Final = 1
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")


class StageFailed(Exception):
    """A part did not start, or ended early."""


@dataclass(kw_only=True)
class Part:
    """One process with its log."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def check(self) -> None:
        """Raise StageFailed, with the end of the log, if the process has ended."""
        if self.process.returncode is not None:
            code = self.process.returncode
            raise StageFailed(f"{self.name} ended with {code}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    async def end(self, limit_seconds: float) -> None:
        """Ask the process to end, and kill it if it does not within the limit."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        ended = asyncio.ensure_future(self.process.wait())
        # Not `timeout`: before Python 3.11.3 it fails in a task that was cancelled.
        await asyncio.wait({ended}, timeout=limit_seconds)
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await ended


@dataclass(kw_only=True)
class Stage:
    """A devnet and a server that uses it."""

    folder: Path
    url: str
    settings: Mapping[str, str] = field(repr=False)
    parts: tuple[Part, ...]

    def check(self) -> None:
        """Raise StageFailed if a part has ended."""
        for part in self.parts:
            part.check()


@asynccontextmanager
async def open_stage(say: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Start the devnet and the server on free ports; afterwards end both and remove their files.

    The server ends first, since it would wait for a devnet that is gone. On an interrupt it is not
    waited for: none of its work outlives the demo.
    """
    folder = Path(tempfile.mkdtemp(prefix="pve402-demo-"))
    parts: list[Part] = []
    limit_seconds = _STOP_LIMIT_SECONDS
    try:
        env_file = folder / "devnet.env"
        say("starting the devnet: a simulated Proxmox VE, an EVM chain, a facilitator")
        parts.append(await _start("devnet", folder, ["devnet", "--env-file", str(env_file)], {}))
        await _until(env_file.exists, parts[0])
        say("starting the server")
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        arguments = ["serve", "--env-file", str(env_file), "--port", str(port)]
        own = {
            "DATABASE_URL": f"sqlite:///{folder}/pve402.sqlite3",
            "PVE402_PUBLIC_URL": url,
            "PVE402_PORTS_DOMAIN": f"ports.localhost:{port}",
        }
        parts.append(await _start("serve", folder, arguments, own))
        await _until_ready(url, parts[1])
        settings = {name: value for name, value in dotenv_values(env_file).items() if value}
        yield Stage(folder=folder, url=url, settings=settings, parts=tuple(parts))
    except asyncio.CancelledError:
        limit_seconds = _INTERRUPTED_STOP_LIMIT_SECONDS
        with contextlib.suppress(OSError):  # the terminal may be what has gone
            say("interrupted, ending the server and the devnet")
        raise
    finally:
        for part in reversed(parts):
            await part.end(limit_seconds)
        await asyncio.to_thread(_remove, folder)


def _remove(folder: Path) -> None:
    """Remove a folder; a part that was interrupted during its start may still write to it."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _start(
    name: str, folder: Path, arguments: list[str], settings: Mapping[str, str]
) -> Part:
    """Start one of our commands, with our environment except for settings.

    Its temporary files are in the folder. Ctrl-C in the terminal reaches only the demo, and a demo
    that is killed takes the part along.
    """
    environment = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pve402",
            *arguments,
            env={**environment, "TMPDIR": str(folder), **settings},
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_die_with_us,
        )
    return Part(name=name, process=process, log=log)


def _die_with_us() -> None:
    """Have the kernel kill this process when its parent dies, as prctl(2) says."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _until(true: Callable[[], bool], part: Part) -> None:
    give_up_at = time.monotonic() + _START_LIMIT_SECONDS
    while not true():
        part.check()
        if time.monotonic() > give_up_at:
            raise StageFailed(f"{part.name} is not up after a while:\n{part.last_words()}")
        await asyncio.sleep(0.1)


async def _until_ready(url: str, part: Part) -> None:
    give_up_at = time.monotonic() + _START_LIMIT_SECONDS
    async with aiohttp.ClientSession() as session:
        while True:
            part.check()
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
            if time.monotonic() > give_up_at:
                raise StageFailed(f"the server is not ready:\n{part.last_words()}")
            await asyncio.sleep(0.1)
