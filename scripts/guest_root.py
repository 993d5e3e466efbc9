"""Make a Debian for the devnet's guests, with an SSH server of its own; nothing of it runs here."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from system_packages import SetupError

SUITE = "bookworm"
ROOT = Path(".cache/guest-root") / SUITE
LOG = Path(".cache/setup/guest-root.log")
_PACKAGES = ("git", "openssh-server", "procps", "python3", "rsync")


def provide(say: Callable[[str], None]) -> None:
    """Make it if it is missing; only root can. Raises SetupError."""
    if ROOT.exists() or os.geteuid() != 0:
        return
    say(f"a Debian ({SUITE}) in {ROOT} (log: {LOG})")
    unfinished = ROOT.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    packages = f"--include={','.join(_PACKAGES)}"
    with LOG.open("wb") as log:
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", packages, SUITE, str(unfinished)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if made.returncode != 0:
        raise SetupError(f"mmdebstrap failed, see {LOG}")
    unfinished.rename(ROOT)
