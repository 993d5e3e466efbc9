"""A second, smaller server beside the public one, in the same process and event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from pve402.api.transport import connections

logger = structlog.get_logger(__name__)

_GRACE_SECONDS: Final = 5
_MESSAGE_BYTES: Final = 4 * 1024 * 1024


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, address: str, *, purpose: str) -> AsyncIterator[None]:
    """Serve during the block. Raises OSError if we cannot listen on the address."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=512)
    server = _Server(_config(app))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        logger.info("listening_beside", address=address, purpose=purpose)
        yield
    finally:
        server.should_exit = True
        await serving
        listener.close()


class _Server(uvicorn.Server):
    """The main server handles the signals."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connections.BoundedHttp,
        ws="websockets-sansio",
        ws_max_size=_MESSAGE_BYTES,
        ws_ping_timeout=None,  # we read no pong while a command does not read its stdin
        ws_per_message_deflate=False,  # 300 KB per connection, and slower than most links
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
