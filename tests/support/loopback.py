"""Ports of loopback that nobody else takes before the program that they are for listens on them.

A port that the kernel chose and got back may go to anybody a moment later, and there are seconds
between the choice and the server. These come from below the kernel's own range, and each worker of
a run takes its own.
"""

import itertools
import os
import random
import socket

_FIRST = 16_000
_OF_A_WORKER = 1_000
_WORKERS = 16  # up to port 32,000; the kernel's begin at 32,768
_steps = itertools.count(random.randrange(_OF_A_WORKER))


def free_port() -> int:
    """A port that nothing listens on now."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    for _ in range(_OF_A_WORKER):
        port = _FIRST + worker * _OF_A_WORKER + next(_steps) % _OF_A_WORKER
        if _is_free(port):
            return port
    raise RuntimeError(f"all {_OF_A_WORKER} ports of this worker are in use")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
