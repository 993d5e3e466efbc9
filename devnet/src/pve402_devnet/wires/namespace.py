"""A network namespace of its own, and commands that run in it."""

import asyncio
import os
import shutil
import sys
from asyncio import subprocess
from collections.abc import Sequence
from pathlib import Path

import pve402_devnet
from pve402_devnet.wires import holder

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "from pve402_devnet.wires import {0}; sys.exit({0}.main(sys.argv[2:]))"
)
_LIMIT_SECONDS = 20.0


def program(name: str, *words: str) -> list[str]:
    """The command that runs a program of this folder in a bare interpreter."""
    source = Path(pve402_devnet.__file__).parents[1]
    return [sys.executable, "-I", "-S", "-c", _BOOT.format(name), str(source), *words]


class NoNetwork(RuntimeError):
    """This machine cannot have such networks; the text says why."""


def require_programs() -> None:
    """Raise `NoNetwork` for a program that is not installed."""
    for name, package in PROGRAMS.items():
        if shutil.which(name, path=PATH) is None:
            raise NoNetwork(f"{name} is not installed (Debian: {package})")


class Namespace:
    """A network namespace that lives as long as the process that holds it."""

    def __init__(self) -> None:
        self._holder: subprocess.Process | None = None

    async def start(self, within: "Namespace | None" = None) -> None:
        """Make it, if need be with the rights of another; raises `NoNetwork`."""
        self._holder = await subprocess.create_subprocess_exec(
            *(within.entering() if within else ()),
            *program("holder"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": PATH},
        )
        assert self._holder.stdout is not None  # noqa: S101 - a pipe was asked for
        assert self._holder.stderr is not None  # noqa: S101 - likewise
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                line = await self._holder.stdout.readline()
                if line.decode().strip() == holder.READY:
                    return
                reason = (await self._holder.stderr.read()).decode().strip().rpartition("\n")[2]
        except TimeoutError:
            reason = "it takes too long"
        await self.stop()
        raise NoNetwork(f"no network namespace: {reason}")

    @property
    def pid(self) -> int:
        """The process that holds it."""
        if self._holder is None:
            raise NoNetwork("the network is not there")
        return self._holder.pid

    async def stop(self) -> None:
        """End it with everything in it."""
        if self._holder is None:
            return
        held, self._holder = self._holder, None
        if held.stdin is not None:
            held.stdin.close()
        await held.communicate()

    def entering(self, pid: int | None = None) -> list[str]:
        """The words before a command that runs in it, or in that of a process within its rights."""
        own = str(self.pid)
        rights = [] if os.getuid() == 0 else ["-U", "--preserve-credentials"]
        if pid is None:
            return ["nsenter", "-t", own, "-n", *rights]
        outer = ["nsenter", "-t", own, *rights] if rights else []
        return [*outer, "nsenter", "-t", str(pid), "-n"]

    async def run(self, command: Sequence[str], text: str = "", *, pid: int | None = None) -> str:
        """Run a command and return what it wrote; RuntimeError with what it complained of."""
        started = await subprocess.create_subprocess_exec(
            *self.entering(pid),
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": PATH},
        )
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                output, complaint = await started.communicate(text.encode())
        except TimeoutError as error:
            raise RuntimeError(f"{' '.join(command)}: no end in {_LIMIT_SECONDS:.0f} s") from error
        finally:  # also if nobody waits for it any more
            if started.returncode is None:
                started.kill()
                await started.communicate()
        if started.returncode:
            words = complaint.decode(errors="replace").strip()
            raise RuntimeError(f"{' '.join(command)}: {words}")
        return output.decode(errors="replace")
