"""The quirks of Proxmox VE's console chain; each can be switched off separately.

Observed on Proxmox VE 9.2 (pve-container 6.1.10, termproxy 2.1.0, dtach 0.9).
"""

from dataclasses import dataclass
from enum import Enum


class SessionEnd(Enum):
    """What a client sees when its shell ends."""

    RANDOM = "random"  # one of the two others, by the seed
    STAYS_OPEN = "stays-open"  # the trailer arrives, then nothing until the client sends data
    DROPS = "drops"  # the connection closes at once and the last bytes are lost


@dataclass(frozen=True, kw_only=True)
class TerminalManners:
    """The manners of the chain, all on.

    attach_seconds: from `OK` until the terminal is attached.
    loses_early_input: what is typed before that is gone.
    doubles_returns: `\\n` arrives as `\\r\\n` whatever the guest's terminal settings are.
    stall_seconds: how long a small segment waits for a delayed acknowledgement (Nagle); 0 is never.
    loses_split_headers: a packet whose header is cut at a read of 4,096 bytes is lost.
    drops_when_shared: with several clients, output that one of them cannot take is lost to it.
    wedges_on_unread_input: the chain reads no output while too much input waits in the terminal.
    detaches_on_key: `^\\` at the start of an 8-byte chunk detaches the client.
    end, seed: what the end of a session looks like.
    refuses_tokens: API tokens pass the API but not the console, as before pve-container 6.1.3.
    stopped_seconds: how long a console of a stopped guest takes to say so.
    connect_limit_seconds, line_limit_seconds: how long a worker waits for its client, and then for
    the client's first line.
    dead_port_seconds: how long a websocket to a port nobody listens on takes to die.
    picture_seconds: how long changes of a picture gather before they are drawn and sent.
    """

    attach_seconds: float = 0.02
    loses_early_input: bool = True
    doubles_returns: bool = True
    stall_seconds: float = 0.04
    loses_split_headers: bool = True
    drops_when_shared: bool = True
    wedges_on_unread_input: bool = True
    detaches_on_key: bool = True
    end: SessionEnd = SessionEnd.RANDOM
    seed: int = 0
    refuses_tokens: bool = False
    stopped_seconds: float = 0.7
    connect_limit_seconds: float = 10.0
    line_limit_seconds: float = 10.0
    dead_port_seconds: float = 5.0
    picture_seconds: float = 0.02


# A chain without quirks, for tests of everything else.
POLITE = TerminalManners(
    attach_seconds=0.0,
    loses_early_input=False,
    doubles_returns=False,
    stall_seconds=0.0,
    loses_split_headers=False,
    drops_when_shared=False,
    wedges_on_unread_input=False,
    detaches_on_key=False,
    end=SessionEnd.STAYS_OPEN,
    stopped_seconds=0.0,
    picture_seconds=0.0,
)
