"""Ways into guests that lead nowhere, for tests of what does not need them."""

from pve402.guests.commands import Commands
from pve402.guests.consoles import Consoles
from pve402.guests.guest_work import GuestWork, OwnGuestsOnly
from pve402.guests.pulls import Pulls
from pve402.guests.ssh_keys import SshKeys
from pve402.guests.streams import LeaseRates, Streams
from pve402.hub import errors, options
from pve402.hub.detached import DetachedPrograms
from pve402.hub.entries import Entries
from pve402.hub.files import Files
from pve402.hub.hub import Hub
from pve402.hub.outbox import TerminalSocket
from pve402.proxmox.guests import GuestRef


def unreachable() -> GuestWork:
    """Every terminal refuses to open."""
    terminal = Hub(options.HubOptions(), refuse)
    return GuestWork(
        hub=terminal,
        commands=Commands(
            terminal,
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            mode="terminal",
            check=admit,
        ),
        files=Files(terminal),
        entries=Entries(terminal),
        detached=DetachedPrograms(terminal),
        consoles=Consoles(None),  # type: ignore[arg-type]
        streams=Streams(terminal, LeaseRates(20)),
        ssh_keys=SshKeys(terminal),
        pulls=Pulls("", LeaseRates(20)),
        open_vnc=OwnGuestsOnly(refuse, None, "test"),  # type: ignore[arg-type]
    )


async def refuse(_guest: GuestRef) -> TerminalSocket:
    """Open no terminal."""
    raise errors.TerminalUnreachable


async def admit(_guest: GuestRef) -> None:
    """Every guest may be entered."""
