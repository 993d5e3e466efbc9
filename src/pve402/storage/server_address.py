"""The parameters of a PostgreSQL address, as libpq names them, for asyncpg.

Hosting services hand out addresses such as `postgresql://...?sslmode=require`. SQLAlchemy passes
every parameter to the driver by name, but the driver knows these only as part of an address.
"""

import re
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
    {"host", "port", "user", "password", "database", "ssl", "prepared_statement_cache_size"}
)
#: asyncpg's arguments that are numbers; in an address they are text.
_NUMBERS: Final = frozenset(
    {"timeout", "command_timeout", "statement_cache_size", "max_cached_statement_lifetime"}
)
_ONE_OF: Final = {
    "sslmode": SSL_MODES,
    "ssl": SSL_MODES,
    "target_session_attrs": (
        "any",
        "primary",
        "standby",
        "read-write",
        "read-only",
        "prefer-standby",
    ),
}
_WHOLE_NUMBERS: Final = _NUMBERS | {"connect_timeout", "prepared_statement_cache_size"}
_KNOWN: Final = _READ_BY_ASYNCPG | _OF_THE_SESSION | _OF_THE_DRIVER | _WHOLE_NUMBERS
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

    Raises ValueError for a parameter that is unknown, not supported or wrong.
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
    if int(given.get("connect_timeout", 0)) > 0:  # to libpq, 0 means not to set one
        arguments["timeout"] = max(2, int(given["connect_timeout"]))  # libpq's minimum too
    arguments |= {name: int(given[name]) for name in _NUMBERS & given.keys()}
    _check_servers(own)
    return own, arguments


def check(address: str) -> None:
    """Raise ValueError for an address that could not be connected to, whatever answers there."""
    try:
        url = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError("must name one server, and its port as a number") from None
    translated(url)


def _check_servers(url: sa.URL) -> None:
    """Raise ValueError if the driver could not tell which servers are meant."""
    try:
        _, connect = url.get_dialect()().create_connect_args(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError(
            "must name one server, or each with its port: host=A:5432&host=B:5432"
        ) from None
    ports = connect.get("port", ())
    if any(not 0 < port < 65536 for port in ([ports] if isinstance(ports, int) else ports)):
        raise ValueError("must name a port from 1 to 65535")


def _check(name: str, value: str) -> None:
    if name in _PASSED_OVER:
        harmless = _PASSED_OVER[name]
        if harmless is not None and value.lower() not in harmless:
            raise ValueError(f"its {name}={value} is not supported; remove {name}")
    elif name in _ONE_OF and value not in _ONE_OF[name]:
        raise ValueError(f"its {name} must be one of {', '.join(_ONE_OF[name])}")
    elif name in _WHOLE_NUMBERS and not re.fullmatch("[0-9]{1,9}", value):
        raise ValueError(f"its {name} must be a whole number")
    elif name not in _KNOWN:
        raise ValueError(f"its parameter {name[:40]} is not known")
