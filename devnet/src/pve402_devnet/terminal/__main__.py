"""`python -m pve402_devnet.terminal`: guests 101 to 105 with consoles, for work on a client.

With `--more N` there are N guests of busybox from 201 on besides.
"""

import argparse
import asyncio
import sys
import tempfile

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


async def run(port: int, manners: TerminalManners, more: int) -> None:
    """Serve until interrupted."""
    with tempfile.TemporaryDirectory(prefix="pve402-guests-") as disks:
        async with standalone.serve(make(disks, manners, more), port) as url:
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8006)
    parser.add_argument("--polite", action="store_true", help="switch every bad manner off")
    parser.add_argument("--more", type=int, default=0, metavar="N", help="N guests more, busybox")
    arguments = parser.parse_args()
    manners = POLITE if arguments.polite else TerminalManners()
    try:
        asyncio.run(run(arguments.port, manners, arguments.more))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
