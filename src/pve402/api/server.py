"""Runs the service: loads settings, builds the application, and serves until stopped."""

import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import prometheus_client
import structlog
import uvicorn
import uvloop
from typing_extensions import override

from pve402 import bootstrap, config
from pve402.api import app as application
from pve402.api.transport import connections, open_files, websockets
from pve402.config import logs
from pve402.domain.catalogue import CatalogueError

logger = structlog.get_logger(__name__)

EXIT_BAD_SETTINGS: Final = 2
EXIT_NOT_STARTED: Final = 3
_GRACE_SECONDS: Final = 5  # the worker takes up to 20 more; most supervisors allow 30 in all


def serve(env_file: Path | None, **overrides: Any) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code: 0, or 3 if it did not start.

    Reports bad settings and returns 2, also for conflicts that only show in the database.
    """
    try:
        settings = config.load(env_file, **overrides)
        logs.configure(settings.pve402_log_level, settings.pve402_log_format)
        for name, meant in config.unknown_variables(env_file).items():
            logger.warning("unknown_setting", name=name, perhaps=meant)
        open_files.raise_limit()
        components = bootstrap.build(settings)
    except (config.SettingsError, CatalogueError) as error:
        sys.stderr.write(f"pve402 cannot start, these settings are missing or wrong:\n\n{error}\n")
        return EXIT_BAD_SETTINGS
    app = application.create_app(components)
    server = Server(_uvicorn_config(app, settings), components.guest_work.close)
    try:
        with _metrics(settings.pve402_metrics_bind):
            uvloop.run(server.serve())
    except _CannotListen as error:
        sys.stderr.write(f"pve402 cannot start: {error}\n")
        return EXIT_NOT_STARTED
    except SystemExit:  # uvicorn raises it if it cannot start
        refusal = getattr(app.state, "refusal", None)
        is_setting = isinstance(refusal, (config.SettingsError, CatalogueError))
        return EXIT_BAD_SETTINGS if is_setting else EXIT_NOT_STARTED
    return 0 if server.started else EXIT_NOT_STARTED


class _CannotListen(Exception):
    """We cannot listen on the metrics address."""


class Server(uvicorn.Server):
    """uvicorn's server; it freezes the start-up objects and exits with 0 after a signal."""

    def __init__(self, options: uvicorn.Config, before_end: Callable[[], Awaitable[None]]) -> None:
        super().__init__(options)
        self._before_end = before_end

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down; end the commands that requests wait for first, so shutdown does not hang."""
        await self._before_end()
        await super().shutdown(sockets)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then exempt all live objects from garbage collection."""
        await super().startup(sockets)
        if not self.started:
            return
        gc.collect()
        gc.freeze()
        gc.enable()
        logger.info("listening", host=self.config.host, port=self.config.port)

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on the usual signals; uvicorn would raise them again after closing, and die."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _uvicorn_config(app: Any, settings: config.Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.pve402_host,
        port=settings.pve402_port,
        http=connections.behind(settings.pve402_trusted_proxies),
        ws=websockets.BoundedSocket,
        ws_max_size=websockets.LARGEST_MESSAGE_BYTES,
        ws_ping_timeout=None,  # we read no pong while a command does not read its stdin
        ws_per_message_deflate=False,  # 300 KB per connection, and slower than most links
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # only address.py reads X-Forwarded-For
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


@contextlib.contextmanager
def _metrics(bind: str | None) -> Iterator[None]:
    """Serve Prometheus metrics on a separate address, from a separate thread.

    Raises _CannotListen.
    """
    if bind is None:
        yield
        return
    host, _, port = bind.rpartition(":")
    try:
        server, thread = prometheus_client.start_http_server(int(port), host.strip("[]"))
    except OSError as error:
        raise _CannotListen(f"PVE402_METRICS_BIND: {bind}: {error.strerror}") from None
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
