"""Measure everything and write the table of docs/benchmarks.md.

    python -m tests.bench [PART ...]

Parts: checks, creations, doors, first, footprint, lives, noise, rates, sagas, warm; all of them
unless some are named, and only all of them are written down. first_command runs only if it is
named, with its own options. Everything runs on this machine's loopback and ends by itself.
"""

import logging
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvloop
from dotenv import dotenv_values
from tests.bench import (
    bench_sagas,
    checks,
    creations,
    doors,
    first_command,
    first_lease,
    footprint,
    lives,
    noise,
    rates,
    rows,
    warm,
)
from tests.support import processes, project

PAGE = project.ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- written by make bench -->\n"
END = "<!-- end of what make bench writes -->\n"
SAGAS = 300

Part = Callable[[Path], list[rows.Row]]


def main(names: Sequence[str]) -> int:
    """Measure the parts named, show them, and write them down if they are all."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        cache_logger_on_first_use=True,
    )
    if names and names[0] == "first_command":
        chosen: dict[str, Part] = {
            names[0]: lambda folder: first_command.measure(folder, names[1:])
        }
    else:
        chosen = {name: PARTS[name] for name in names or PARTS}
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pve402-bench-") as folder:
        for name, part in chosen.items():
            print(f"== {name}", flush=True)
            for row in part(Path(folder)):
                lines.append(row.line())
                print(lines[-1], flush=True)
    print(machine())
    if set(chosen) == set(PARTS):
        _write(machine() + "\n\n" + rows.HEAD + "\n".join(lines) + "\n")
    return 0


def machine() -> str:
    """The machine in words, and how busy it was with other things."""
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    model = names[0].partition(": ")[2] if names else platform.machine()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{now}; {os.cpu_count()} cores ({model}), {memory_gb:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; load average at the end {os.getloadavg()[0]:.1f}."
    )


def _write(text: str) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print(f"written: {PAGE}")


@contextmanager
def _devnet(folder: Path) -> Iterator[processes.DevnetProcess]:
    env_file = folder / "devnet.env"
    env_file.unlink(missing_ok=True)
    process = processes.start(folder, "devnet", "--env-file", str(env_file), "--latency", "0")
    try:
        processes.wait_until(env_file.exists, process, "up")
        settings = {k: v for k, v in dotenv_values(env_file).items() if v is not None}
        yield processes.DevnetProcess(process=process, env_file=env_file, settings=settings)
    finally:
        process.end()


def _rates(folder: Path) -> list[rows.Row]:
    with _devnet(folder) as devnet:
        return rates.measure(devnet, folder)


def _checks(folder: Path) -> list[rows.Row]:
    with _devnet(folder) as devnet:
        return checks.measure(devnet)


def _footprint(folder: Path) -> list[rows.Row]:
    with _devnet(folder) as devnet:
        return footprint.measure(devnet, folder)


def _creations(_folder: Path) -> list[rows.Row]:
    return uvloop.run(creations.measure())


def _lives(_folder: Path) -> list[rows.Row]:
    return uvloop.run(lives.measure())


def _sagas(_folder: Path) -> list[rows.Row]:
    found = []
    for kind, aim, mini in (("sqlite", "60", "61-94"), ("postgresql", "100", "65-128")):
        line = uvloop.run(bench_sagas.measure(kind, SAGAS, 8)).split()
        found.append(
            rows.Row(
                what=f"whole lives of leases, {kind}",
                ours=f"{line[3]}/s",
                beside="a mini workflow on the same database, measured earlier",
                peer=f"{mini}/s",
                ratio=f"{float(line[3]) / float(mini.split('-')[0]):.2f} of its lower figure",
                aim=f"{aim}/s",
            )
        )
    return found


PARTS: dict[str, Part] = {
    "rates": _rates,
    "checks": _checks,
    "creations": _creations,
    "sagas": _sagas,
    "footprint": _footprint,
    "warm": warm.measure,
    "noise": noise.measure,
    "first": first_lease.measure,
    "doors": doors.measure,
    "lives": _lives,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
