"""Operators put OCI images on nodes."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from rich.console import Console
from tests.support.installation import Installation, simulated_proxmox

from pve402.domain.oci import Reference
from pve402.ops import images
from pve402_devnet.pve.simulator import SimulatedProxmox

BUSYBOX = Reference.parse("docker.io/library/busybox:1.36")


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """A cluster of two nodes, whose work takes no time."""
    async with simulated_proxmox("one", "two") as cluster:
        yield cluster


class Command:
    """Runs commands and keeps what they print."""

    def __init__(self, installation: Installation) -> None:
        self.parts = installation.parts
        self._file = io.StringIO()
        self._console = Console(file=self._file, width=300)

    async def pull(self, reference: str, *nodes: str, storage: str = "local") -> int:
        """Run `ops images pull`."""
        return await self._wanted(reference, storage, nodes).pull(self.parts, self._console)

    async def remove(self, reference: str, *nodes: str) -> int:
        """Run `ops images remove`."""
        return await self._wanted(reference, "local", nodes).remove(self.parts, self._console)

    @property
    def lines(self) -> list[str]:
        """Everything printed so far."""
        return self._file.getvalue().splitlines()

    def _wanted(self, reference: str, storage: str, nodes: tuple[str, ...]) -> images.Images:
        return images.Images(reference=Reference.parse(reference), storage=storage, nodes=nodes)


@pytest.fixture
def command(installation: Installation) -> Command:
    return Command(installation)


def _files(proxmox: SimulatedProxmox) -> set[str]:
    return {
        one for one in proxmox.world.storages.require("local", "one").templates if "oci-" in one
    }


async def test_an_image_is_pulled_once_and_removed(
    command: Command, proxmox: SimulatedProxmox
) -> None:
    codes = [await command.pull(str(BUSYBOX), "one") for _ in range(2)]
    there = _files(proxmox)
    codes += [await command.remove(str(BUSYBOX), "one") for _ in range(2)]

    assert codes == [0] * 4
    assert there == {BUSYBOX.file_name}
    assert _files(proxmox) == set()
    pulled, again, removed, _ = command.lines
    volume = f"local:vztmpl/{BUSYBOX.file_name}"
    assert pulled.startswith(f"one: pulled {volume}, 1.1 MB of 20")
    assert again.startswith(f"one: has {volume}")
    assert removed == f"one: has no {volume}"
    kinds = [task.upid.type for task in proxmox.world.tasks]
    assert kinds.count("ociregistrypull") == 1


async def test_without_a_node_all_are_asked(command: Command) -> None:
    assert await command.pull(str(BUSYBOX)) == 0

    assert [line.partition(":")[0] for line in command.lines] == ["one", "two"]


@pytest.mark.parametrize(
    ("reference", "storage", "words"),
    [
        ("docker.io/library/busybox:nosuch", "local", "no such image, or no such tag of it: "),
        ("nosuch.test/web:1", "local", "got no image from the registry"),
        ("docker.io/library/busybox:1.36", "nosuch", "The storage does not exist"),
    ],
)
async def test_a_failure_says_why_for_each_node(
    command: Command,
    capsys: pytest.CaptureFixture[str],
    reference: str,
    storage: str,
    words: str,
) -> None:
    assert await command.pull(reference, "one", "two", storage=storage) == 1

    told = capsys.readouterr().err.splitlines()
    told = [line for line in told if line.startswith(("one: ", "two: "))]
    assert [words in line for line in told] == [True, True]
    assert command.lines == []


async def test_a_full_storage_says_so(
    command: Command, proxmox: SimulatedProxmox, capsys: pytest.CaptureFixture[str]
) -> None:
    proxmox.world.storages.require("local", "one").full = True

    assert await command.pull(str(BUSYBOX), "one") == 1

    assert "one: The storage has no room left: " in capsys.readouterr().err
