"""How long the way from an empty Proxmox VE to the first paid lease is, typed as by an operator.

The simulated node takes the times of a real one, and the firewall's timer its 60 seconds. The time
of a person is not measured: it is what reading and typing so many commands and answers takes.
"""

from pathlib import Path

from tests.bench import rows
from tests.support import first_lease, processes

_SECONDS_A_COMMAND, _SECONDS_AN_ANSWER = 60, 20  # of a person who reads what is said


def measure(folder: Path) -> list[rows.Row]:
    """Go the whole way once."""
    with (
        processes.running_devnet(folder) as devnet,
        first_lease.empty_proxmox(folder, "1") as host,
    ):
        way = first_lease.go(folder, devnet, host)
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in way.seconds.items())
    machine = sum(way.seconds.values())
    person = len(way.typed) * _SECONDS_A_COMMAND + way.answers * _SECONDS_AN_ANSWER
    return [
        rows.Row(
            what="empty Proxmox VE to the first paid lease: the machine",
            ours=f"{machine:.0f} s",
            beside="its steps",
            peer=steps,
            ratio="-",
            aim="< 120 s",
        ),
        rows.Row(
            what="the same: a person",
            ours=f"{len(way.typed)} commands, {way.answers} answers",
            beside=f"{_SECONDS_A_COMMAND} s a command, {_SECONDS_AN_ANSWER} s an answer (assumed)",
            peer=f"{person / 60:.1f} min",
            ratio="-",
            aim="< 10 min",
        ),
    ]
