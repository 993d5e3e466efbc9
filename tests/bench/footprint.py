"""What a server takes before anybody asks for anything: start-up time and memory."""

import os
import time
from pathlib import Path
from statistics import median

from tests.bench import load, rows
from tests.support import processes

STARTS = 5
IDLE_SECONDS = 5.0


def measure(devnet: processes.DevnetProcess, folder: Path) -> list[rows.Row]:
    """Start a server some times; look at the last one's memory when it has been idle."""
    taken: list[tuple[float, float]] = []
    memory_mb = 0.0
    for _ in range(STARTS):
        began = time.perf_counter()
        with processes.serving(folder, devnet) as service:
            seconds, pid = time.perf_counter() - began, service.process.popen.pid
            taken.append((seconds, load.Target(url=service.url, pid=pid).cpu_seconds()))
            if len(taken) == STARTS:
                time.sleep(IDLE_SECONDS)
                memory_mb = _resident_mb(pid)
    wall, cpu = median(a for a, _ in taken), median(b for _, b in taken)
    return [
        _row("start until it can serve", f"{wall:.2f} s, {cpu:.2f} s CPU", "< 2.5 s"),
        _row("memory of an idle server", f"{memory_mb:.0f} MB", "< 150 MB"),
    ]


def _row(what: str, ours: str, aim: str) -> rows.Row:
    return rows.Row(what=what, ours=ours, beside="-", peer="-", ratio="-", aim=aim)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
