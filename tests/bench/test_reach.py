"""What a tenant feels through streams: keys, round trips, speed both ways, a reader that stops."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from statistics import quantiles

import aiohttp
import pytest
from tests.bench.rows import show
from tests.support import commands, limits, openssh, port_names, processes
from tests.support.commands import Container
from tests.support.processes import ServeProcess

from pve402 import schemas
from pve402.client import relay, streams
from pve402.client.client import Client
from pve402.client.errors import Refused

UP_BYTES, DOWN_BYTES = 1_000_000, 20_000_000
GAPS_MS = (0, 10, 60)
ROUNDS = 60
IDLE = 60


@pytest.mark.timeout(600)
async def test_what_streams_give(serve: Callable[..., ServeProcess]) -> None:
    service = serve(**limits.WIDE_RATES)
    container = await asyncio.to_thread(commands.lease, service)
    async with Client(service.url, token=container.token) as client:
        show("a shell, from connecting to its prompt", await prompt(client, container))
        show("a key's echo in a shell, 50 ms apart", await echo(client, container))
        for gap_ms in GAPS_MS:
            figure = await round_trips(client, container, gap_ms)
            show(f"round trip through `cat`, {gap_ms} ms apart", figure, "p50 < 5 ms")
        show("up, through the terminal", f"{await up(client, container):.2f} MB/s")
        show("down", f"{await down(client, container):.1f} MB/s")
        one_by_one, parallel = await connections(client, container)
        show("an HTTP request on a new connection, one relay", one_by_one)
        show("20 channels of one relay, opened at once", f"{parallel:.2f} s")
        grown = await stopped_reader(client, service, container)
        show("the service's growth while a reader stops for 20 s", f"{grown:.1f} MB", "level")
    await asyncio.to_thread(openssh.install, container)
    show("`pve402 ssh LEASE true`, start to end", await asyncio.to_thread(ssh, container))
    assert grown < 5


@pytest.mark.timeout(900)
async def test_sixty_idle_shells_on_a_node_leave_commands_alone(
    serve: Callable[..., ServeProcess],
) -> None:
    service = serve(PVE402_CORES_OVERCOMMIT="1000")
    leasing = [asyncio.to_thread(commands.lease, service, memoryMB=128) for _ in range(IDLE + 1)]
    containers = [await each for each in leasing]
    beside = containers.pop()
    alone = await asyncio.to_thread(command_times, beside)
    async with AsyncExitStack() as stack:
        for each in containers:
            client = await stack.enter_async_context(Client(service.url, token=each.token))
            stream = await stack.enter_async_context(opened(client, each, service="shell"))
            await anext(stream.output())
        before = resident_mb(service)
        busy = await asyncio.to_thread(command_times, beside)
        async with Client(service.url, token=beside.token) as client:
            with pytest.raises(Refused, match="node_consoles_full"):
                async with opened(client, beside, service="shell"):
                    pass
    show("a command, alone", spread(alone))
    show(f"a command, beside {IDLE} idle shells on the node", spread(busy))
    show("the service's memory with these", f"{before:.0f} MB")


def command_times(container: Container) -> list[float]:
    """A session of its own, and then commands one after the other."""
    container.output("true")
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        container.output("true")
        times.append(time.perf_counter() - started)
    return times


@pytest.mark.timeout(300)
async def test_what_a_published_port_gives(serve: Callable[..., ServeProcess]) -> None:
    service = serve(**port_names.SETTINGS, **limits.WIDE_RATES)
    container = await asyncio.to_thread(commands.lease, service)
    port = await asyncio.to_thread(port_names.serve, container, 8080)
    assert (await asyncio.to_thread(port.publish)).ok
    headers = {"Host": port.host, **port.token}
    connector = aiohttp.TCPConnector(limit=20)
    async with aiohttp.ClientSession(service.url, headers=headers, connector=connector) as session:

        async def fetch_page(path: str = "/echo") -> int:
            async with session.get(path) as answer:
                assert answer.status == 200
                return len(await answer.read())

        show("a published port's GET, back to back", await page_times(fetch_page, 0))
        show("the same, 60 ms apart", await page_times(fetch_page, 60))
        started = time.perf_counter()
        await asyncio.gather(*(fetch_page() for _ in range(400)))
        per_second = 400 / (time.perf_counter() - started)
        show("400 GETs of a published port, 20 at once", f"{per_second:.0f}/s")
        started = time.perf_counter()
        sizes = await asyncio.gather(*(fetch_page("/big?500000") for _ in range(20)))
        taken = time.perf_counter() - started
    show("20 parallel answers of 0.5 MB, in all", f"{sum(sizes) / taken / 1e6:.1f} MB/s")
    assert sizes == [500_000] * 20


async def page_times(fetch_page: Callable[[], Awaitable[int]], gap_ms: int) -> str:
    """Fetches one after the other, with a pause before each."""
    times = []
    for _ in range(ROUNDS):
        await asyncio.sleep(gap_ms / 1000)
        started = time.perf_counter()
        await fetch_page()
        times.append(time.perf_counter() - started)
    return spread(times)


@asynccontextmanager
async def opened(
    client: Client, container: Container, **wish: object
) -> AsyncIterator[streams.Stream]:
    request = schemas.StreamSocketRequest(**wish)  # type: ignore[arg-type]
    async with streams.opened(client, container.ctid, request) as stream:
        yield stream


async def round_trips(client: Client, container: Container, gap_ms: int) -> str:
    """Answers of `cat` to a short line, with a pause before each."""
    times = []
    async with (
        opened(client, container, command="cat") as stream,
        aclosing(stream.output()) as output,
    ):
        for _ in range(ROUNDS):
            await asyncio.sleep(gap_ms / 1000)
            started = time.perf_counter()
            await stream.write(b"hello\n")
            await anext(output)
            times.append(time.perf_counter() - started)
    return spread(times)


async def prompt(client: Client, container: Container) -> str:
    """New shells, one after the other."""
    times = []
    for _ in range(12):
        started = time.perf_counter()
        async with (
            opened(client, container, service="shell") as stream,
            aclosing(stream.output()) as output,
        ):
            await anext(output)
            times.append(time.perf_counter() - started)
            await stream.write(b"exit\r")
    return spread(times)


async def echo(client: Client, container: Container) -> str:
    """Keys typed 50 ms apart."""
    times = []
    async with (
        opened(client, container, service="shell") as stream,
        aclosing(stream.output()) as output,
    ):
        await stream.write(b"echo re''ady\r")
        seen = b""
        while b"ready" not in seen:
            seen += (await anext(output)).data
        for _ in range(ROUNDS):
            await asyncio.sleep(0.05)
            started = time.perf_counter()
            await stream.write(b"x")
            await anext(output)
            times.append(time.perf_counter() - started)
    return spread(times)


async def up(client: Client, container: Container) -> float:
    async with opened(client, container, command="head -c 1000000 | wc -c") as stream:
        started = time.perf_counter()
        await stream.write(b"the same text again and again\n" * (UP_BYTES // 30 + 1))
        async with aclosing(stream.output()) as output:
            assert (await anext(output)).data.strip() == b"1000000"
        return UP_BYTES / (time.perf_counter() - started) / 1e6


async def down(client: Client, container: Container) -> float:
    started, size = time.perf_counter(), 0
    async with (
        opened(client, container, command=f"head -c {DOWN_BYTES} /dev/zero") as stream,
        aclosing(stream.output()) as output,
    ):
        async for piece in output:
            size += len(piece.data)
    assert size == DOWN_BYTES
    return DOWN_BYTES / (time.perf_counter() - started) / 1e6


async def connections(client: Client, container: Container) -> tuple[str, float]:
    """Fetches from a web server in the container, each over a new connection.

    First one after the other, and then 20 at once: the seconds that they take.
    """
    await asyncio.to_thread(
        container.run,
        command="cd /usr/lib && python3 -m http.server --bind 127.0.0.1 8999",
        detach=True,
    )
    times: list[float] = []
    async with opened(client, container, service="ports") as stream:
        shared = relay.Relay(stream)
        running = asyncio.create_task(shared.run(before_end=lambda: None))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await shared.carry(8999, reader, writer)
            except relay.Unreachable:
                pass
            finally:
                writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            give_up_at = time.monotonic() + 120
            while len(times) < ROUNDS:
                started = time.perf_counter()
                if await fetch(port):
                    times.append(time.perf_counter() - started)
                assert time.monotonic() < give_up_at
            started = time.perf_counter()
            assert all(await asyncio.gather(*(fetch(port) for _ in range(20))))
            parallel = time.perf_counter() - started
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return spread(times), parallel


async def fetch(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HEAD / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.0 200")


async def stopped_reader(client: Client, service: ServeProcess, container: Container) -> float:
    async with (
        opened(client, container, command="cat /dev/zero") as stream,
        aclosing(stream.output()) as output,
    ):
        await anext(output)
        await asyncio.sleep(2)
        before = resident_mb(service)
        await asyncio.sleep(20)
        return resident_mb(service) - before


def ssh(container: Container) -> str:
    settings = {"PVE402_URL": container.service.url, "PVE402_TOKEN": container.token}
    times = []
    for number in range(6):
        started = time.perf_counter()
        done = processes.run("ssh", container.ctid, "true", **settings)
        assert done.returncode == 0, done.stderr
        if number:
            times.append(time.perf_counter() - started)
    return spread(times)


def spread(times: list[float]) -> str:
    parts = quantiles(times, n=100, method="inclusive")
    return f"p50 {parts[49] * 1000:.1f} ms, p95 {parts[94] * 1000:.1f} ms"


def resident_mb(service: ServeProcess) -> float:
    """The memory that the server has."""
    status = Path(f"/proc/{service.process.popen.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
