"""A process that keeps a network namespace open until its input ends.

Run in a bare interpreter: `python -I -S -c BOOT <source directory>`. Started by an ordinary user
it makes a user namespace around the network, in which that user is root.
"""

import os
import sys
from pathlib import Path

from pve402_devnet.guests import linux

READY = "ready"


def main(_words: list[str]) -> int:
    """Make the namespace, say so, and wait for the end of the input."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        linux.unshare(linux.CLONE_NEWNET)
    else:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNET)
        own = Path("/proc/self")
        (own / "setgroups").write_text("deny")
        (own / "uid_map").write_text(f"0 {user} 1")
        (own / "gid_map").write_text(f"0 {group} 1")
    linux.raise_loopback()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    sys.stdin.read()
    return 0
