"""Log lines: an event name and fields, to standard error, for people or for programs.

Libraries' log lines go the same way. Fields with names of secrets are dropped, in case anybody ever
logs one.
"""

import logging
import sys
from typing import Any, Final

import structlog

_SECRET_FIELDS: Final = frozenset(
    {"authorization", "password", "payment", "private_key", "secret", "signature", "ticket"}
    | {"token", "access_token", "x_payment", "payment_signature"}
)


def configure(level: str, log_format: str) -> None:
    """Set up logging for this process; `auto` means for people if standard error is a terminal."""
    for_people = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(shared, for_people=for_people))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("uvicorn", "aiosqlite", "alembic", "asyncio", "web3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _formatter(shared: list[Any], *, for_people: bool) -> logging.Formatter:
    # Plain tracebacks: the coloured ones print local variables, including secrets.
    plain = structlog.dev.plain_traceback
    ending: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
        if for_people
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )


def _without_secrets(_logger: Any, _method: str, event: Any) -> Any:
    for name in event.keys() & _SECRET_FIELDS:
        event[name] = "[not shown]"
    return event
