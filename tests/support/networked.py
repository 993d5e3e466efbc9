"""A devnet whose containers have network cards, and reach servers of ours at 203.0.113.9."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import limits, processes
from tests.support.processes import DevnetProcess, ServeProcess

OUTSIDE = "203.0.113.9"


@dataclass(frozen=True, kw_only=True)
class Networked:
    """The devnet, and the ports at which its containers reach us."""

    devnet: DevnetProcess
    folder: Path
    ports: tuple[int, int]

    @contextlib.contextmanager
    def serving(
        self, *, at: int = 0, listens: bool = True, **settings: str
    ) -> Iterator[ServeProcess]:
        """Run a server that leads containers to a port, at which it listens or does not."""
        port = self.ports[at]
        usual = {"PVE402_GUEST_URL": f"http://{OUTSIDE}:{port}", **limits.WIDE_RATES}
        if listens:
            usual["PVE402_GUEST_BIND"] = f"127.0.0.1:{port}"
        with processes.serving(self.folder, self.devnet, **{**usual, **settings}) as made:
            yield made


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Networked]:
    """Start such a devnet."""
    ports = processes.free_port(), processes.free_port()
    options = [word for port in ports for word in ("--uplink", str(port))]
    with processes.running_devnet(folder, *options) as devnet:
        yield Networked(devnet=devnet, folder=folder, ports=ports)
