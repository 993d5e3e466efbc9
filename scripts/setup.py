"""Install what `make demo` or `make test` needs; safe to repeat, quick if nothing is missing.

usage: python3 scripts/setup.py run|develop|test|conformance
  run      .venv with the server and the devnet
  develop  .venv with the tools for development as well
  test     develop, the other clients and servers that tests meet, and the distribution's programs
  conformance  test, further clients of SSH and E2B's, tools for OCI images, and a Debian for the
               devnet's guests
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from pathlib import Path

import environments
import guest_root
import npm_tools
import system_packages
import unpacked
from environments import Environment
from system_packages import Need, SetupError

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Profile:
    """The requirements of one kind of use."""

    needs: tuple[Need, ...]
    environments: tuple[Environment, ...]
    npm: tuple[Path, ...] = ()
    unpacked: tuple[unpacked.Program, ...] = ()
    guest_root: bool = False


_TEST = Profile(
    system_packages.TEST_NEEDS,
    (
        environments.DEVELOP,
        environments.FAKEPVE,
        environments.LEGACY_CLIENT,
        environments.CONFORMANCE,
        environments.E2B,
        environments.GENERATORS,
    ),
    npm=npm_tools.FOLDERS,
    unpacked=unpacked.PROGRAMS,
)
PROFILES = {
    "run": Profile(system_packages.RUN_NEEDS, (environments.RUN,)),
    "develop": Profile(system_packages.RUN_NEEDS, (environments.DEVELOP,)),
    "test": _TEST,
    "conformance": replace(
        _TEST,
        needs=system_packages.CONFORMANCE_NEEDS,
        environments=(*_TEST.environments, environments.SSH_CLIENTS),
        npm=(*npm_tools.FOLDERS, npm_tools.E2B),
        unpacked=(*unpacked.PROGRAMS, unpacked.REGISTRY),
        guest_root=True,
    ),
}


def main(arguments: list[str]) -> int:
    """Set up the profile named on the command line; return 2 if the machine lacks something."""
    if len(arguments) != 1 or arguments[0] not in PROFILES:
        print(__doc__, file=sys.stderr)
        return 2
    os.chdir(ROOT)
    started = time.monotonic()
    try:
        with _only_one_at_a_time():
            done = _set_up(PROFILES[arguments[0]])
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    if done:
        print(f"setup: ready after {time.monotonic() - started:.0f} s", flush=True)
    return 0


def _set_up(profile: Profile) -> list[str]:
    """Do every step that is due; return the steps' announcements."""
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        print(f"setup: {text}", flush=True)

    # A current environment proves that its Python can create one.
    current = all(environment.is_current() for environment in profile.environments)
    needs = [need for need in profile.needs if not (current and need in system_packages.RUN_NEEDS)]
    system_packages.provide(needs, say)
    steps = [functools.partial(environments.provide, it, say) for it in profile.environments]
    steps += [functools.partial(npm_tools.provide, [folder], say) for folder in profile.npm]
    if profile.unpacked:
        steps.append(functools.partial(unpacked.provide, profile.unpacked, say))
    # A terminal shows how far a step is, so there they come one after the other.
    do_all(steps, at_once=1 if sys.stdout.isatty() else 1 + (os.cpu_count() or 1))
    if profile.guest_root:
        guest_root.provide(say)
    return said


def do_all(steps: Sequence[Callable[[], object]], *, at_once: int) -> None:
    """Do independent steps, some at a time; raises the first one's error once all have ended."""
    with futures.ThreadPoolExecutor(at_once) as pool:
        begun = [pool.submit(step) for step in steps]
    for step in begun:
        step.result()


@contextlib.contextmanager
def _only_one_at_a_time() -> Iterator[None]:
    """Concurrent setups would write to the same environment, so the second waits for the first."""
    Path(".cache/setup").mkdir(parents=True, exist_ok=True)
    with Path(".cache/setup/lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
