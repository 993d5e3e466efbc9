"""How fast the hub is over the simulated console chain, bad manners on.

    python -m tests.bench.bench_hub [--sessions 100]

Prints one table. The chain, its guests and this client share the machine.
"""

import argparse
import asyncio
import gc
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from tests.support import guest_consoles
from tests.support.guest_consoles import Consoles

from pve402.hub.request import ExecRequest
from pve402_devnet.terminal.__main__ import FIRST_MORE

MIB = 1024 * 1024
TRUE = ExecRequest(command="true")
GUESTS = {"ash": guest_consoles.ASH, "dash": guest_consoles.DASH, "bash": guest_consoles.BASH}


async def main(sessions: int) -> None:
    """Measure and print."""
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
    print(f"this machine now: `sh -c true` takes {machine() * 1000:.1f} ms")
    print(f"{'what':34}" + "".join(f"{name:>16}" for name in GUESTS) + f"{'aim':>16}")
    for url in guest_consoles.serve():
        async with guest_consoles.consoles(url) as chain:
            for what, measure, aim in MEASURES:
                cells = [await measure(chain, vmid) for vmid in GUESTS.values()]
                print(f"{what:34}" + "".join(f"{cell:>16}" for cell in cells) + f"{aim:>16}")
    label = f"{sessions} guests with a warm session"
    print(f"{label:34}{await memory(sessions):>16}")


def machine() -> float:
    """Median time of starting a shell: each command in a guest costs some twelve processes."""
    times = []
    for _ in range(50):
        started = time.perf_counter()
        subprocess.run(["sh", "-c", "true"], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


async def opening(chain: Consoles, vmid: int) -> str:
    times = []
    for _ in range(5):
        async with chain.hub() as hub:
            times.append(await timed(hub.session(guest_consoles.guest(vmid))))
    return f"{statistics.median(times) * 1000:.0f} ms"


async def warm(chain: Consoles, vmid: int) -> str:
    async with warmed(chain, vmid) as run:
        times = sorted([await timed(run(command="true")) for _ in range(300)])
    return f"{times[150] * 1000:.1f} / {times[285] * 1000:.1f} ms"


async def output(chain: Consoles, vmid: int) -> str:
    async with warmed(chain, vmid) as run:
        seconds = await timed(
            run(command=f"head -c {10 * MIB} /dev/urandom", output_limit_bytes=11 * MIB)
        )
    return f"{10 * MIB / seconds / 1e6:.1f} MB/s"


async def stdin(chain: Consoles, vmid: int, data: bytes) -> str:
    async with warmed(chain, vmid) as run:
        seconds = await timed(run(command="cat >/dev/null", stdin=data))
    return f"{len(data) / seconds / 1e3:.0f} KB/s"


async def text_in(chain: Consoles, vmid: int) -> str:
    return await stdin(chain, vmid, b"all work and no play makes jack\n" * (MIB // 32))


async def bytes_in(chain: Consoles, vmid: int) -> str:
    return await stdin(chain, vmid, bytes(range(256)) * (MIB // 256))


async def eight(chain: Consoles, vmid: int) -> str:
    async with warmed(chain, vmid) as run:
        runs = asyncio.gather(*(run(command="seq 1 2000") for _ in range(8)))
        seconds = await timed(runs)
    return f"{seconds:.2f} s"


async def key(chain: Consoles, vmid: int) -> str:
    async with chain.hub() as hub:
        console = await hub.open_console(guest_consoles.guest(vmid), 80, 24)
        await asyncio.sleep(0.5)
        await console.read()
        times = []
        for _ in range(100):
            started = time.perf_counter()
            await console.write(b"x")
            await console.read()
            times.append(time.perf_counter() - started)
            await asyncio.sleep(0.03)
        times.sort()
    return f"{times[50] * 1000:.1f} / {times[95] * 1000:.1f} ms"


async def screen(chain: Consoles, vmid: int) -> str:
    """Console output, every byte read."""
    size = 20 * MIB
    async with chain.hub() as hub:
        console = await hub.open_console(guest_consoles.guest(vmid), 80, 24)
        await asyncio.sleep(0.5)
        await console.write(f"head -c {size} /dev/zero | tr '\\0' x; echo do''ne\r".encode())
        started, tail, received = time.perf_counter(), b"", 0
        while b"done" not in tail:
            data = await console.read()
            if data is None:
                return "closed"
            received += len(data)
            tail = (tail + data)[-200:]
        seconds = time.perf_counter() - started
    return f"{received / seconds / 1e6:.0f} MB/s"


async def recovery(chain: Consoles, vmid: int) -> str:
    """A server killed while a command runs, until the next one has run its first."""
    guest = guest_consoles.guest(vmid)
    async with chain.hub() as lost:
        await lost.start(guest, ExecRequest(command="sleep 60"))
        await asyncio.sleep(0.2)
        await (await lost.session(guest)).close(quit_program=False)
        async with chain.hub() as hub:
            seconds = await timed(hub.exec(guest, ExecRequest(command="true")))
    return f"{seconds:.2f} s"


async def memory(sessions: int) -> str:
    """Growth of our resident memory per guest with a warm session, behind its first command."""
    first = guest_consoles.guest(guest_consoles.ASH)
    for url in guest_consoles.serve("--more", str(sessions)):
        async with (
            guest_consoles.consoles(url) as chain,
            chain.hub(max_sessions_per_node=sessions) as hub,
        ):
            await hub.exec(first, TRUE)
            await hub.close_guest(first)
            gc.collect()
            before = resident_bytes()
            for number in range(sessions):
                await hub.exec(guest_consoles.guest(FIRST_MORE + number), TRUE)
            warm, grown = hub.open_sessions, resident_bytes() - before
    assert warm == sessions
    return f"{grown / sessions / 1024:.0f} KiB each"


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@asynccontextmanager
async def warmed(chain: Consoles, vmid: int) -> AsyncIterator[Callable[..., Awaitable[object]]]:
    async with chain.hub() as hub:
        guest = guest_consoles.guest(vmid)

        async def run(**values: object) -> object:
            result = await hub.exec(guest, ExecRequest(**values))  # type: ignore[arg-type]
            assert result.exit_code == 0
            return result

        await run(command="true")
        yield run


async def timed(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


MEASURES = (
    ("session open, median", opening, "200-360 ms"),
    ("warm `true`, p50 / p95", warm, "7-9 / 8-11 ms"),
    ("10 MiB of output", output, "2.5 MB/s"),
    ("1 MiB of stdin, text", text_in, "300-390 KB/s"),
    ("1 MiB of stdin, all bytes", bytes_in, "300-390 KB/s"),
    ("8 commands of 2,000 lines at once", eight, "0.20-0.26 s"),
    ("console key echo, p50 / p95", key, "5 ms"),
    ("console output", screen, "43 MB/s"),
    ("recovery from a killed server", recovery, "0.6-0.75 s"),
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100)
    asyncio.run(main(parser.parse_args().sessions))
