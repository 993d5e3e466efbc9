"""Ways into guests that lead nowhere, for tests that do not need them."""

from tests.support import limits

from pve402.guests.commands import Commands
from pve402.guests.connections import Connections
from pve402.guests.consoles import Consoles
from pve402.guests.guest_work import GuestWork, OwnGuestsOnly
from pve402.guests.pulls import Pulls
from pve402.guests.ssh_keys import SshKeys
from pve402.guests.streams import Streams
from pve402.hub import errors, options
from pve402.hub.detached import DetachedPrograms
from pve402.hub.entries import Entries
from pve402.hub.files import Files
from pve402.hub.hub import Hub
from pve402.hub.outbox import TerminalSocket
from pve402.hub.watching import Watching
from pve402.proxmox.guests import GuestRef


def unreachable() -> GuestWork:
    """Every terminal refuses to open."""
    terminal = Hub(options.HubOptions(), refuse)
    streams = Streams(terminal, limits.wide_rates())
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
        watching=Watching(terminal),
        detached=DetachedPrograms(terminal),
        consoles=Consoles(None),  # type: ignore[arg-type]
        streams=streams,
        connections=Connections(streams),
        ssh_keys=SshKeys(terminal),
        rates=limits.wide_rates(),
        pulls=Pulls(""),
        open_vnc=OwnGuestsOnly(refuse, None, "test"),  # type: ignore[arg-type]
    )


async def refuse(_guest: GuestRef) -> TerminalSocket:
    """Open no terminal."""
    raise errors.TerminalUnreachable


async def admit(_guest: GuestRef) -> None:
    """Every guest may be entered."""
