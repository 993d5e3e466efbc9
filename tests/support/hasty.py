"""`pve402`, with waits that are enough for a simulator, whose firewall needs no ten seconds."""

import functools

from pve402 import __main__ as command
from pve402.guests import probes
from pve402.leases import guest_networks
from pve402.setup import main as setup
from pve402.setup import switching

if __name__ == "__main__":
    assert setup  # whose annotations name what is replaced here
    switching.Pace = functools.partial(  # type: ignore[misc, assignment]
        switching.Pace, timer_seconds=4, takes_hold_seconds=0.5, slack_seconds=0.5
    )
    guest_networks.SETTLED_SECONDS = 1
    probes.Probes = functools.partial(  # type: ignore[misc, assignment]
        probes.Probes, patience_seconds=1
    )
    command.main()
