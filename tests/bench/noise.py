"""What a noisy tenant or address costs a quiet one: latencies alone and beside each attack.

    python -m tests.bench.noise [--seconds N] [--attack NAME] ...

The attacker is a process of its own that yields to all others. Each attack has its own quiet time
before it, so that what else the machine does meets both alike.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from tests.bench import attacks, load, quiet, rows
from tests.support import processes, project

SECONDS = 60.0
QUIET_PART = 0.5
MOST_TIMES, AIM_TIMES, MOST_MB, MOST_LOG_MB = 5.0, 3.0, 400.0, 1.0
_REST_SECONDS = 6.0
_LOOK_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one attack did."""

    attack: str
    alone: quiet.Seen
    beside: quiet.Seen
    memory_mb: float
    log_mb_a_minute: float
    cpu_percent: float  # of one core
    answers: dict[str, int]

    def rows(self) -> Iterator[rows.Row]:
        """A row for each kind of call, and one for what the service took."""
        for what in quiet.PAUSE_SECONDS:
            yield rows.Row(
                what=f"{what} beside {self.attack}",
                ours=_told(self.beside, what),
                beside="alone",
                peer=_told(self.alone, what),
                ratio=f"{self.times(what):.1f} by p99",
                aim=f"< {MOST_TIMES:.0f}, {AIM_TIMES:.0f}" if what != quiet.WORLD else "-",
            )
        refused = sum(self.beside.refused.values())
        yield rows.Row(
            what=f"the service beside {self.attack}",
            ours=(
                f"{self.memory_mb:.0f} MB, log {self.log_mb_a_minute:.2f} MB a minute, "
                f"{self.cpu_percent:.0f} % of a core"
            ),
            beside="the quiet tenant's refusals",
            peer=f"{refused} of {sum(map(len, self.beside.seconds.values()))}",
            ratio="-",
            aim=f"< {MOST_MB:.0f} MB, < {MOST_LOG_MB:.0f} MB, 0",
        )

    def broken(self) -> Iterator[str]:
        """The limits that did not hold."""
        for what in quiet.OURS:
            if self.times(what) >= MOST_TIMES:
                yield f"{what} takes {self.times(what):.1f} times as long"
        yield from self.beside.refused
        if self.memory_mb >= MOST_MB:
            yield f"the service takes {self.memory_mb:.0f} MB"
        if self.log_mb_a_minute >= MOST_LOG_MB:
            yield f"the log grows by {self.log_mb_a_minute:.2f} MB a minute"

    def times(self, what: str) -> float:
        """How many times as long a call takes beside the attack, at the 99th percentile."""
        return self.beside.quantile(what, 0.99) / self.alone.quantile(what, 0.99)


def measure(folder: Path) -> list[rows.Row]:
    """All attacks, one after another."""
    outcomes = asyncio.run(_measure(folder, tuple(attacks.ATTACKS), SECONDS))
    return [row for outcome in outcomes for row in outcome.rows()]


async def _measure(folder: Path, kinds: Sequence[str], seconds: float) -> list[Outcome]:
    with processes.running_devnet(folder) as devnet, processes.serving(folder, devnet) as service:
        async with quiet.living(service) as tenant:
            await tenant.watch(2.0)  # what is only done once is done
            return [await _one(kind, tenant, service, seconds) for kind in kinds]


async def _one(
    kind: str, tenant: quiet.QuietTenant, service: processes.ServeProcess, seconds: float
) -> Outcome:
    alone = await tenant.watch(seconds * QUIET_PART)
    log_bytes, target = service.process.log.stat().st_size, _target(service)
    used = target.cpu_seconds()
    async with _attacking(kind, service, seconds) as (attacker, memory):
        beside = await tenant.watch(seconds)
        used = target.cpu_seconds() - used
        said, _ = await asyncio.to_thread(attacker.communicate)
    grown = service.process.log.stat().st_size - log_bytes
    await asyncio.sleep(_REST_SECONDS)
    return Outcome(
        attack=kind,
        alone=alone,
        beside=beside,
        memory_mb=max(memory),
        log_mb_a_minute=grown / 2**20 * 60 / seconds,
        cpu_percent=100 * used / seconds,
        answers=json.loads(said.splitlines()[-1]),
    )


@contextlib.asynccontextmanager
async def _attacking(
    kind: str, service: processes.ServeProcess, seconds: float
) -> AsyncIterator[tuple[subprocess.Popen[str], list[float]]]:
    """Run an attack that has begun; the list is of the service's memory in megabytes."""
    command = [sys.executable, "-m", "tests.bench.attacks", kind, service.url]
    command += [service.devnet.settings["RPC_URL"], str(seconds)]
    process = _start(command)
    memory: list[float] = []
    looking = asyncio.create_task(_look(service.process.popen.pid, memory))
    try:
        assert process.stdout is not None
        if await asyncio.to_thread(process.stdout.readline) != "ready\n":
            raise RuntimeError(f"the attack {kind} did not begin")
        yield process, memory
    finally:
        looking.cancel()
        process.kill()
        process.wait()


async def _look(pid: int, memory: list[float]) -> None:
    while True:
        memory.append(_resident_mb(pid))
        await asyncio.sleep(_LOOK_SECONDS)


def _target(service: processes.ServeProcess) -> load.Target:
    return load.Target(url=service.url, pid=service.process.popen.pid)


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=project.ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _told(seen: quiet.Seen, what: str) -> str:
    middle, most = seen.quantile(what, 0.5), seen.quantile(what, 0.99)
    return f"p50 {middle * 1e3:.1f} ms, p99 {most * 1e3:.1f} ms of {len(seen.seconds[what])}"


def main() -> int:
    """Measure some attacks, or all, for a shorter time; returns 1 if a limit was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.noise")
    parser.add_argument("--attack", action="append", choices=list(attacks.ATTACKS))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pve402-bench-") as folder:
        kinds = chosen.attack or tuple(attacks.ATTACKS)
        outcomes = asyncio.run(_measure(Path(folder), kinds, chosen.seconds))
    broken: list[str] = []
    for outcome in outcomes:
        print("\n".join(row.line() for row in outcome.rows()))
        print(f"  attacker: {outcome.answers}\n  refused: {dict(outcome.beside.refused)}")
        broken += [f"{outcome.attack}: {words}" for words in outcome.broken()]
    print(f"{time.monotonic() - began:.0f} s, load average {os.getloadavg()[0]:.1f}")
    print("\n".join(broken) or "all within their limits")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
