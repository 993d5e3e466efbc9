"""`pve402-devnet terminal`: guests 101 to 105 with consoles, for work on a client.

`--more N` adds N busybox guests, from 201 on.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence

from pve402_devnet import command
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec
from pve402_devnet.terminal import standalone
from pve402_devnet.terminal.manners import POLITE, TerminalManners
from pve402_devnet.terminal.service import Consoles

TEMPLATES = {
    101: "busybox-alpine",
    102: "dash",
    103: "bash",
    104: "busybox-nobase64",
    105: "dash-nobase64",
}
FIRST_MORE = 201
_PORT = 8006


def make(disks: str, manners: TerminalManners, more: int = 0) -> standalone.Standalone:
    """Build guests 101 to 105 and some more, each in cmode shell, and their consoles."""
    templates = TEMPLATES | {FIRST_MORE + number: "busybox-alpine" for number in range(more)}
    runtime = NamespaceRuntime(RuntimeOptions(disks=disks))
    specs = {
        vmid: GuestSpec(
            node=standalone.NODE, hostname=f"ct{vmid}", template=template, cmode="shell"
        )
        for vmid, template in templates.items()
    }
    consoles = Consoles(runtime, manners)
    return standalone.Standalone(runtime=runtime, consoles=consoles, specs=specs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and serve; returns the exit status."""
    return command.main(make_parser(), _serve, arguments)


def make_parser() -> argparse.ArgumentParser:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="pve402-devnet terminal", description=__doc__)
    command.add_port(parser.add_argument, _PORT)
    parser.add_argument("--polite", action="store_true", help="Switch all quirks off.")
    parser.add_argument("--more", type=int, default=0, metavar="N", help="Add N busybox guests.")
    return parser


async def _serve(chosen: argparse.Namespace) -> None:
    ending = command.ending()
    manners = POLITE if chosen.polite else TerminalManners()
    with tempfile.TemporaryDirectory(prefix="pve402-guests-") as disks:
        async with standalone.serve(make(disks, manners, chosen.more), chosen.port) as url:
            command.say(url)
            await ending.wait()


if __name__ == "__main__":
    sys.exit(main())
