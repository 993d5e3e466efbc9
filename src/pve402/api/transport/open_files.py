"""The limit on open files: every connection and every terminal uses one.

A process that runs out of files silently refuses every new connection, even health probes.
"""

import contextlib
import resource
from typing import Final

import structlog

logger = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 10_000
_WISHES: Final = (65_536, 10_240)  # macOS grants at most the second, whatever the hard limit


def raise_limit() -> int:
    """Raise the soft limit to the hard one, at most 65,536; return the new limit.

    Supervisors set 1,024 for programs that use select(2), which we never call.
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
    """Return how many clients may be connected: at most half of the files.

    The other half is for Proxmox VE, its terminals, the database and the chain.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)
