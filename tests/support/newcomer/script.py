"""What the operator's tutorial has a reader type, in order, and on which machine."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import project

TUTORIAL = Path("docs/tutorial/operator.md")
RIGHTS = Path("docs/how-to/proxmox-rights.md")
NODE = "the Proxmox node"
SERVICE_MACHINE = "the service machine"
_PART = re.compile(
    r"^## (?P<heading>[^\n]+)$|^```sh\n(?P<block>.*?)^```$|\]\(\.\./how-to/proxmox-rights\.md\)",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Lines to type, and the machine whose root shell they are for."""

    machine: str
    heading: str
    text: str


def blocks() -> list[Block]:
    """The tutorial's blocks, with those of the page on rights where the tutorial sends readers."""
    return list(_read(TUTORIAL, machine=""))


def _read(page: Path, *, machine: str) -> Iterator[Block]:
    heading = ""
    for found in _PART.finditer((project.ROOT / page).read_text(encoding="utf-8")):
        if found["heading"]:
            heading = found["heading"]
            named = re.search(r", on (the .+)$", heading)
            machine = named[1] if named else machine
        elif found["block"]:
            yield Block(machine=machine, heading=heading, text=found["block"])
        elif page == TUTORIAL:
            yield from _read(RIGHTS, machine=NODE)
