"""Create this project's virtual environments from the pinned, hashed lists in requirements/.

Each environment has a stamp: the hash of everything it was made from. While the stamp matches,
there is nothing to do, so that a repeated setup takes no time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from system_packages import SetupError

REQUIREMENTS = Path("requirements")
LOGS = Path(".cache/setup")
STAMP = ".pve402-setup.json"


@dataclass(frozen=True)
class Environment:
    """One virtual environment: its path, its lists, and the projects of this tree to install."""

    name: str
    folder: Path
    lists: tuple[str, ...]
    editable: tuple[str, ...] = ()

    def digest(self) -> str:
        """Hash of the interpreter and of every file the environment is made from."""
        content = hashlib.sha256(f"{sys.version} {sys.prefix}".encode())
        files = [REQUIREMENTS / name for name in self.lists]
        if self.editable:
            files += [Path(project) / "pyproject.toml" for project in self.editable]
            content.update(str(Path.cwd()).encode())
        for file in files:
            content.update(file.read_bytes())
        return content.hexdigest()

    def is_current(self) -> bool:
        """Return whether the environment was completed from exactly these files."""
        return bool(_stamps(self.folder).get(self.name) == self.digest())


PROJECTS = (".", "devnet")
RUN = Environment("run", Path(".venv"), ("build.txt", "devnet.txt"), PROJECTS)
DEVELOP = Environment("develop", Path(".venv"), ("build.txt", "dev.txt"), PROJECTS)
FAKEPVE = Environment("fakepve", Path(".venv-fakepve"), ("fakepve.txt",))
LEGACY_CLIENT = Environment("x402-legacy", Path(".venv-x402-legacy"), ("x402-legacy.txt",))
CONFORMANCE = Environment("conformance", Path(".venv-conformance"), ("conformance.txt",))
E2B = Environment("e2b", Path(".venv-e2b"), ("e2b.txt",))
GENERATORS = Environment("generators", Path(".venv-generators"), ("generators.txt",))
SSH_CLIENTS = Environment("ssh-clients", Path(".venv-ssh-clients"), ("ssh-clients.txt",))


def provide(environment: Environment, say: Callable[[str], None]) -> None:
    """Update the environment to its lists; does nothing if it is current."""
    if environment.is_current():
        return
    _create(environment, say)
    for name in environment.lists:
        _install_list(environment, name, say)
    if environment.editable:
        say(f"{environment.folder}: pve402 itself")
        own = [part for project in environment.editable for part in ("--editable", project)]
        _pip(environment, ["--no-build-isolation", "--no-deps", *own], on_line=_ignore)
    _write_stamp(environment)


def _create(environment: Environment, say: Callable[[str], None]) -> None:
    made_by = _stamps(environment.folder).get("python")
    if made_by == sys.version and (environment.folder / "bin" / "python").exists():
        return
    if made_by is not None:
        say(f"{environment.folder}: made by another Python, recreating it")
        shutil.rmtree(environment.folder)
    say(f"{environment.folder}: creating")
    command = [sys.executable, "-m", "venv", str(environment.folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SetupError(f"{' '.join(command)} failed:\n{made.stdout}{made.stderr}")


def _install_list(environment: Environment, name: str, say: Callable[[str], None]) -> None:
    path = REQUIREMENTS / name
    total = sum(line[:1].isalnum() for line in path.read_text().splitlines())
    say(f"{environment.folder}: {total} packages of {path}")
    seen = 0

    def on_line(line: str) -> None:
        nonlocal seen
        if line.startswith("Collecting "):
            seen += 1
            _show_progress(environment, seen, total, line.split()[1].partition("==")[0])
        elif line.startswith("Installing collected"):
            _show_progress(environment, total, total, "unpacking")

    # The list is complete and already resolved: pip must not add anything.
    _pip(environment, ["--no-deps", "--require-hashes", "--requirement", str(path)], on_line)
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)


def _show_progress(environment: Environment, done: int, total: int, what: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\033[K      {done}/{total} {what}", end="", flush=True)
    elif done % 25 == 0 or what == "unpacking":
        print(f"      {environment.folder}: {done}/{total} {what}", flush=True)


def _ignore(_line: str) -> None:
    """Progress of a single package is not worth a line."""


def _pip(
    environment: Environment, arguments: Sequence[str], on_line: Callable[[str], None]
) -> None:
    """Run pip in the environment, with this machine's own pip configuration."""
    python = str(environment.folder / "bin" / "python")
    command = [python, "-m", "pip", "install", "--progress-bar", "off", "--no-input"]
    LOGS.mkdir(parents=True, exist_ok=True)
    log_path = LOGS / f"pip{environment.folder}.log"
    with (
        log_path.open("a") as log,
        subprocess.Popen(
            [*command, "--disable-pip-version-check", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 -- for the type checker, PIPE is given
        for line in process.stdout:
            log.write(line)
            on_line(line)
    if process.returncode != 0:
        tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
        raise SetupError(f"pip failed in {environment.folder} (whole log: {log_path}):\n{tail}")


def _stamps(folder: Path) -> dict[str, str]:
    try:
        stamps = json.loads((folder / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _write_stamp(environment: Environment) -> None:
    """Record what the environment was made from; `develop` also contains all of `run`."""
    stamps = {"python": sys.version, environment.name: environment.digest()}
    if environment is DEVELOP:
        stamps[RUN.name] = RUN.digest()
    (environment.folder / STAMP).write_text(json.dumps(stamps, indent=1) + "\n")
