"""What a server takes before anybody asks for anything: start-up time and memory."""

import os
import time
from pathlib import Path
from statistics import median

from tests.bench import load, rows
from tests.support import processes

STARTS = 6
IDLE_SECONDS = 5.0


def measure(devnet: processes.DevnetProcess, folder: Path) -> list[rows.Row]:
    """Start a server some times; look at the last one's memory when it has been idle.

    The first start makes the database; the others find it as a restart or an upgrade does.
    """
    taken: list[tuple[float, float]] = []
    memory_mb = 0.0
    database = f"sqlite:///{folder}/footprint.sqlite3"
    for _ in range(STARTS):
        began = time.perf_counter()
        with processes.serving(folder, devnet, DATABASE_URL=database) as service:
            seconds, pid = time.perf_counter() - began, service.process.popen.pid
            taken.append((seconds, load.Target(url=service.url, pid=pid).cpu_seconds()))
            if len(taken) == STARTS:
                time.sleep(IDLE_SECONDS)
                memory_mb = _resident_mb(pid)
    first, *again = taken
    return [
        rows.Row(
            what="start until it can serve",
            ours=_told(again),
            beside="the first start, with a new database",
            peer=_told([first]),
            ratio="-",
            aim="< 2.5 s",
        ),
        rows.Row(
            what="memory of an idle server",
            ours=f"{memory_mb:.0f} MB",
            beside="-",
            peer="-",
            ratio="-",
            aim="< 150 MB",
        ),
    ]


def _told(starts: list[tuple[float, float]]) -> str:
    wall, cpu = median(a for a, _ in starts), median(b for _, b in starts)
    return f"{wall:.2f} s, {cpu:.2f} s CPU"


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
