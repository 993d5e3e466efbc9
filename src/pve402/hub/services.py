"""What a stream can lead to besides a tenant's program: the hub's own scripts for the guest."""

import shlex
from collections.abc import Mapping, Sequence

from pve402.hub import guest_scripts, shells
from pve402.hub.request import ExecRequest
from pve402.proxmox import termproxy

#: Connections to the guest's loopback are kept no longer than this without a byte.
_RELAY_IDLE_SECONDS = 60.0


def ssh() -> ExecRequest:
    """One SSH connection, served by the guest's own sshd."""
    return guest_scripts.stream("sshd", "serve")


def shell(
    columns: int,
    rows: int,
    env: Mapping[str, str],
    *,
    words: Sequence[str] = (),
    folder: str = "",
) -> ExecRequest:
    """An interactive shell on a terminal of its own, or the program `words`, started in a folder.

    It is hung up when its client has left.
    """
    columns, rows = termproxy.clamp_size(columns, rows)
    entered = f"cd -- {shlex.quote(folder)}||exit 126;" if folder else ""
    program = f"{entered}exec {shlex.join(words)}" if words else ""
    arguments = (str(rows), str(columns), shells.PYTHON, program)
    return guest_scripts.stream(
        "shell", *arguments, env=env, has_variables=True, has_terminal=True, end_signal="HUP"
    )


def ports(idle_seconds: float | None = _RELAY_IDLE_SECONDS) -> ExecRequest:
    """Connections to the guest's loopback, many in one stream; see guest/relay.pl."""
    relay = guest_scripts.source("relay", "pl")
    return guest_scripts.stream("ports", relay, end_signal="TERM", idle_seconds=idle_seconds)


def port(number: int) -> ExecRequest:
    """One connection to the guest's loopback."""
    return guest_scripts.stream(
        "port", str(number), end_signal="TERM", idle_seconds=_RELAY_IDLE_SECONDS
    )
