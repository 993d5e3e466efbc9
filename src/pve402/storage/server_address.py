"""The parameters of a PostgreSQL address, as libpq names them, for asyncpg.

Hosting services hand out addresses such as `postgresql://...?sslmode=require`. SQLAlchemy passes
every parameter to the driver by name, but the driver knows these only as part of an address.
"""

from typing import Any, Final
from urllib.parse import urlencode

import sqlalchemy as sa

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_READ_BY_ASYNCPG: Final = frozenset(
    {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword", "sslnegotiation"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs"}
    | {"passfile", "krbsrvname", "gsslib"}
)
_OF_THE_SESSION: Final = frozenset(
    {"application_name", "options", "search_path", "statement_timeout", "lock_timeout"}
    | {"idle_in_transaction_session_timeout"}
)
_OF_THE_DRIVER: Final = frozenset(
    {"host", "port", "user", "password", "database", "ssl", "timeout", "command_timeout"}
    | {"statement_cache_size", "prepared_statement_cache_size", "max_cached_statement_lifetime"}
)
#: Parameters that asyncpg does not support, with the values that are harmless to ignore.
_PASSED_OVER: Final = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "client_encoding": ("utf8", "utf-8", "auto"),
    "sslcompression": ("0",),
    **dict.fromkeys(("fallback_application_name", "keepalives", "keepalives_idle")),
    **dict.fromkeys(("keepalives_interval", "keepalives_count", "tcp_user_timeout")),
}


def translated(url: sa.URL) -> tuple[sa.URL, dict[str, Any]]:
    """Return the address without these parameters, and the connect arguments that replace them.

    Raises ValueError for a parameter that is unknown or not supported.
    """
    given = {
        name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()
    }
    for name, value in given.items():
        _check(name, value)
    own = url.difference_update_query(given.keys() - _OF_THE_DRIVER)
    arguments: dict[str, Any] = {}
    for_asyncpg = {name: given[name] for name in sorted(given.keys() & _READ_BY_ASYNCPG)}
    if for_asyncpg:
        arguments["dsn"] = f"postgresql://?{urlencode(for_asyncpg)}"
    session = {name: given[name] for name in sorted(given.keys() & _OF_THE_SESSION)}
    if session:
        arguments["server_settings"] = session
    if "connect_timeout" in given:
        arguments["timeout"] = max(2, int(given["connect_timeout"]))  # libpq's minimum too
    return own, arguments


def _check(name: str, value: str) -> None:
    if name in _PASSED_OVER:
        harmless = _PASSED_OVER[name]
        if harmless is not None and value.lower() not in harmless:
            raise ValueError(f"its {name}={value} is not supported; remove {name}")
    elif name == "sslmode" and value not in SSL_MODES:
        raise ValueError(f"its sslmode must be one of {', '.join(SSL_MODES)}")
    elif name == "connect_timeout" and not (value.isascii() and value.isdigit()):
        raise ValueError("its connect_timeout must be a whole number of seconds")
    elif name not in _READ_BY_ASYNCPG | _OF_THE_SESSION | _OF_THE_DRIVER | {"connect_timeout"}:
        raise ValueError(f"its parameter {name[:40]} is not known")
