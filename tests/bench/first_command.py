"""From the paid request to the first command's answer: cold, out of the pool, and in bursts.

    python -m tests.bench first_command [--beside CHECKOUT] [--few] [--only WORDS]

CHECKOUT is another checkout of this project with its own `.venv`, usually of an earlier commit: its
server is measured in turns with ours, in the same world. Chain, facilitator and Proxmox VE are
simulated, with the times of latencies.toml; the settings are the usual ones apart from limits.
`--few` takes a tenth of the turns, `--only` those phases whose names contain the words.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import requests
from dotenv import dotenv_values
from tests.bench import rows, slow_world
from tests.support import processes

TURNS = 50
BURSTS = (30, 100)
POOL = 30
BODY = {
    "sku": "standard-lxc",
    "runtimeMinutes": 60,
    "cores": 1,
    "memoryMB": 128,
    "diskGB": 1,
    "password": "root_password_here",
}
LIMITS = {
    "PVE402_MAX_UNSETTLED_PER_ADDRESS": "1000",
    "PVE402_MAX_UNSETTLED_PER_PAYER": "1000",
    "PVE402_MAX_UNSETTLED": "1000",
    "PVE402_MEMORY_RESERVE_MB": "0",
    "PVE402_DISK_OVERCOMMIT": "1000",
}
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Side:
    """A version to measure."""

    name: str
    python: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def measure(folder: Path, arguments: Sequence[str]) -> list[rows.Row]:
    """Measure ours, and the other version if there is one, in turns."""
    sides = [Side(name="ours", python=sys.executable)]
    if "--beside" in arguments:
        other = Path(arguments[arguments.index("--beside") + 1])
        sides.append(Side(name="before", python=str(other / ".venv/bin/python")))
    few = 10 if "--few" in arguments else 1
    phases = {
        f"cold, {TURNS // few} one after another": (TURNS // few, 1, 0),
        f"out of a pool of {POOL}, {TURNS // few} one after another": (TURNS // few, 1, POOL),
        **{f"cold, {size} at once": (size, size, 0) for size in BURSTS},
        **{f"out of a pool of {POOL}, {size} at once": (size, size, POOL) for size in BURSTS},
    }
    if "--only" in arguments:
        words = arguments[arguments.index("--only") + 1]
        phases = {what: phase for what, phase in phases.items() if words in what}
    for what, (number, at_once, pool) in phases.items():
        for side in sides:
            side.seconds[what] = _phase(folder, side, number, at_once, pool)
    return [_row(what, sides) for what in phases]


def _row(what: str, sides: Sequence[Side]) -> rows.Row:
    ours, others = sides[0], sides[1:]
    refused = ", ".join(f"{len(side.refused)} of {side.name}" for side in sides)
    return rows.Row(
        what=f"paid request to the first command's answer, {what}",
        ours=_told(ours.seconds[what]),
        beside="the commit before" if others else "-",
        peer=_told(others[0].seconds[what]) if others else "-",
        ratio=_ratio(ours.seconds[what], others[0].seconds[what]) if others else "-",
        aim=f"none refused (in all phases {refused})",
    )


def _told(seconds: list[float]) -> str:
    return f"p50 {_part(seconds, 0.5):.2f} s, p95 {_part(seconds, 0.95):.2f} s"


def _ratio(ours: list[float], other: list[float]) -> str:
    return (
        f"{_part(ours, 0.5) / _part(other, 0.5):.2f}, {_part(ours, 0.95) / _part(other, 0.95):.2f}"
    )


def _part(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds) or [float("nan")]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _phase(folder: Path, side: Side, number: int, at_once: int, pool: int) -> list[float]:
    """Lease so many containers in a new world; seconds until each has answered a command."""
    wanted = {"PVE402_POOL": f"standard-lxc:1:128:1={pool}"} if pool else {}
    with (
        _world(folder) as devnet,
        processes.serving(folder, devnet, python=side.python, **LIMITS, **wanted) as service,
    ):
        _wait_until_ready(service, pool)
        tenants = [service.tenant() for _ in range(number)]
        together = threading.Barrier(at_once)

        def lease(tenant: requests.Session) -> float | None:
            together.wait()
            return _until_answer(service, tenant, side)

        with ThreadPoolExecutor(at_once) as threads:
            found = [seconds for seconds in threads.map(lease, tenants) if seconds is not None]
    print(f"   {side.name}, {number} ({at_once} at once, pool {pool}): {_told(found)}", flush=True)
    return found


def _until_answer(
    service: processes.ServeProcess, tenant: requests.Session, side: Side
) -> float | None:
    began = time.perf_counter()
    limit = _PATIENCE_SECONDS
    bought = tenant.post(f"{service.url}/lease/container", json=BODY, timeout=limit)
    if bought.status_code != 200:
        side.refused.append(bought.text[:200])
        print(f"   refused: {bought.status_code} {bought.text[:200]}", flush=True)
        return None
    lease = bought.json()
    said = requests.post(
        f"{service.url}/management/exec/{lease['ctid']}",
        json={"command": "echo usable"},
        headers={"Authorization": f"Bearer {lease['accessToken']}"},
        timeout=limit,
    )
    seconds = time.perf_counter() - began
    if said.status_code != 200 or said.json()["stdout"] != "usable\n":
        side.refused.append(said.text[:200])
        print(f"   no command: {said.status_code} {said.text[:200]}", flush=True)
        return None
    return seconds


@contextlib.contextmanager
def _world(folder: Path) -> Iterator[processes.DevnetProcess]:
    env_file = folder / "slow-world.env"
    env_file.unlink(missing_ok=True)
    process = processes.start(folder, str(env_file), program=(str(slow_world.__file__),))
    try:
        processes.wait_until(env_file.exists, process, "up")
        settings = {k: v for k, v in dotenv_values(env_file).items() if v is not None}
        slow = {
            "kind": "slow",
            "endpoint": "settle",
            "delaySeconds": slow_world.figures("facilitator")["settle"],
        }
        url = f"{settings['FACILITATOR_URL']}/devnet/faults"
        requests.post(url, json=slow, timeout=30).raise_for_status()
        yield processes.DevnetProcess(process=process, env_file=env_file, settings=settings)
    finally:
        process.end()


def _wait_until_ready(service: processes.ServeProcess, pool: int) -> None:
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while service.process.said().count("pool_guest_ready") < pool:
        if time.monotonic() > give_up_at:
            raise TimeoutError("the pool does not fill")
        time.sleep(0.2)
