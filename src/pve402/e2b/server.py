"""The gateway's server, on loopback and nowhere else."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from pve402.e2b import connect, control, door, envd, sandboxes

HOST: Final = "127.0.0.1"
_GOODBYE_SECONDS: Final = 1.0


def application(known: sandboxes.Sandboxes) -> web.Application:
    """Build the application."""
    app = web.Application(
        middlewares=[door.own_machine, door.refusals_told], client_max_size=connect.MOST_BYTES
    )
    app[door.SANDBOXES] = known
    control.add_to(app)
    envd.add_to(app)
    return app


@asynccontextmanager
async def serving(known: sandboxes.Sandboxes, port: int) -> AsyncGenerator[str]:
    """Serve for the block; yields the address. Raises OSError if the port is taken."""
    runner = web.AppRunner(
        application(known),
        access_log=None,
        shutdown_timeout=_GOODBYE_SECONDS,
        auto_decompress=False,
    )
    reaping = asyncio.create_task(known.reap())
    try:
        await runner.setup()
        await web.TCPSite(runner, HOST, port).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        reaping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reaping
        await runner.cleanup()
        await known.close()


async def serve(known: sandboxes.Sandboxes, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until this is cancelled."""
    async with serving(known, port) as address:
        on_ready(address)
        await asyncio.Event().wait()
