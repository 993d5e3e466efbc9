"""How many files this process may have open: each connection is one, and so is each terminal.

A process out of files refuses every new connection without a word, probes of its health too.
"""

import contextlib
import resource
from typing import Final

import structlog

logger = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 10_000
_WISHES: Final = (65_536, 10_240)  # macOS grants no more than the second, whatever its hard limit


def raise_limit() -> int:
    """Raise the soft limit to the hard one, 65,536 at most; return what it is now.

    Supervisors give 1,024 to be kind to select(2), which nothing here calls.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wish in _WISHES:
        most = wish if hard == resource.RLIM_INFINITY else min(wish, hard)
        if soft == resource.RLIM_INFINITY or soft >= most:
            break
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if most_connections() < MAX_CONNECTIONS:
        logger.warning("few_open_files", limit=soft, most_connections=most_connections())
    return soft


def most_connections() -> int:
    """Return how many clients may be connected: half of the files at most.

    The other half is for Proxmox VE, its terminals, the database and the chain.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)
