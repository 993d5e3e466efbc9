"""A clean Debian in a folder, entered as a machine of its own, and reaching what this one reaches.

How the mirrors and registries are reached is read from this machine when the tests run: the mirror
from apt, the rest from its variables and files. Needs root, debootstrap and unshare.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.support import project

SOURCE = "srv/pve402"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REACHING = re.compile(
    r"(PIP|NPM_CONFIG)_.*|.*_PROXY|.*CERT.*|.*_CA_?(BUNDLE|INFO).*", re.IGNORECASE
)
"""Variables that say how registries are reached."""
FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/xdg/pip")
OF_HOME = (".config/pip", ".pip", ".npmrc")
ENTER = """
root=$1; shift
mount --bind "$root" "$root"
mkdir -p "$root/old"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
cd "$root"
pivot_root . old
umount -l /old
cd /
exec "$@"
"""


def can_be_made() -> bool:
    """Whether this machine can make and enter one."""
    return os.geteuid() == 0 and shutil.which("debootstrap") is not None


def make(root: Path, suite: str, packages: tuple[str, ...]) -> None:
    """Put that Debian into a folder, with packages, and this project in /srv/pve402."""
    _checked(["debootstrap", "--variant=minbase", suite, str(root), _mirror()])
    root.chmod(0o755)  # a guest's users must get through it
    _hand_over(root)
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends"
    done = run(root, f"apt-get -q update && {apt} install {' '.join(packages)}")
    assert done.returncode == 0, done.stdout
    _hand_over(root)  # again: ca-certificates writes its own bundle
    _copy_project(root / SOURCE)


def run(root: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A shell command in there, as root, with nothing of this process but how to reach out."""
    reaching = {name: value for name, value in os.environ.items() if REACHING.fullmatch(name)}
    settings = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **reaching}
    inside = ["env", "-i", *(f"{name}={value}" for name, value in settings.items())]
    own = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return subprocess.run(
        [*own, "sh", "-euc", ENTER, "sh", str(root), *inside, "sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _mirror() -> str:
    """Where this machine's own Debian comes from."""
    release = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=(\w+)", release, re.MULTILINE)
    assert found is not None
    form = ["--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Identifier: Packages"]
    targets = _checked(["apt-get", "indextargets", *form]).decode().splitlines()
    wanted = [line.split()[0] for line in targets if line.split()[1:] == [found[1], "main"]]
    return wanted[0]


def _hand_over(root: Path) -> None:
    """Give it the files by which this machine reaches mirrors and registries."""
    named = [value for name, value in os.environ.items() if REACHING.fullmatch(name)]
    for path in map(Path, (*FILES, *(value for value in named if value.startswith("/")))):
        if path.is_file() or str(path) in FILES:
            _copy(path, root / path.relative_to("/"))
    for name in OF_HOME:
        _copy(Path.home() / name, root / "root" / name)
    proxies = _checked(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"]).decode()
    kept = [line for line in proxies.splitlines() if re.match(r"Acquire::https?::", line)]
    (root / "etc/apt/apt.conf.d/90reaching").write_text("\n".join(kept) + "\n", encoding="utf-8")


def _copy_project(target: Path) -> None:
    """The files as they are now, without what setup or the tests have made."""
    list_files = ["git", "-C", str(project.ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    for name in map(os.fsdecode, _checked(list_files).split(b"\0")):
        file = project.ROOT / name
        if name and file.is_file():
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _checked(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-4000:]
    return done.stdout
