"""What a tenant feels through streams: keys, round trips, speed both ways, a reader that stops."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from statistics import quantiles

import pytest
from tests.support import commands, openssh, processes
from tests.support.commands import Container
from tests.support.processes import ServeProcess

from pve402 import schemas
from pve402.client import relay, streams
from pve402.client.client import Client

UP_BYTES, DOWN_BYTES = 1_000_000, 20_000_000
GAPS_MS = (0, 10, 60)
ROUNDS = 60


@pytest.mark.timeout(600)
async def test_what_streams_give(serve: Callable[..., ServeProcess]) -> None:
    service = serve(PVE402_LEASE_MBPS="1000")
    container = await asyncio.to_thread(commands.lease, service)
    async with Client(service.url, token=container.token) as client:
        print()
        for gap_ms in GAPS_MS:
            print(
                f"round trip, {gap_ms:2} ms apart: {await round_trips(client, container, gap_ms)}"
            )
        print(f"a key's echo in a shell: {await echo(client, container)}")
        print(f"up {await up(client, container):.2f} MB/s", end="   ")
        print(f"down {await down(client, container):.1f} MB/s")
        print(f"connections, one relay: {await connections(client, container)}")
        grown = await stopped_reader(client, service, container)
        print(f"a reader that stops for 20 s: the service grows by {grown:.1f} MB")
    await asyncio.to_thread(openssh.install, container)
    print(f"ssh to the end of `true`: {await asyncio.to_thread(ssh, container)}")
    assert grown < 5


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


async def connections(client: Client, container: Container) -> str:
    """Fetches from a web server in the container, one after the other, each a new connection."""
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
            give_up_at = time.monotonic() + 30
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
    return f"a GET {spread(times)}, 20 at once in {parallel:.2f} s"


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
