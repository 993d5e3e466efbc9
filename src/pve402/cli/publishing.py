"""The work of `ports`, `publish` and `unpublish`."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pve402 import client, schemas
from pve402.cli import calls, credentials, terminal

_LASTING: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_HEADS: Final = ("port", "access", "until", "address")


def end_of(lasting: str | None) -> datetime | None:
    """When a time such as 1h is over. Exits with 2 for anything else."""
    if lasting is None:
        return None
    match = _LASTING.fullmatch(lasting)
    if match is None:
        terminal.misused("give --for as a number of minutes, hours or days: 30m, 1h or 7d")
    return datetime.now(UTC) + timedelta(**{_UNITS[match[2]]: int(match[1])})


def show(url: str, token: str | None, name: str, *, as_json: bool) -> None:
    """Show the published ports, or say that there are none."""

    async def listed(service: client.Client) -> list[schemas.PortItem]:
        return await client.ports.show(service, await client.names.resolve(service, name))

    _show(calls.run(credentials.holder(url, token), listed), as_json=as_json)


def show_login(url: str, token: str | None, name: str, port: int, *, as_json: bool) -> None:
    """Make a link to a private port, and show it."""

    async def made(service: client.Client) -> schemas.PortLoginAnswer:
        ctid = await client.names.resolve(service, name)
        return await client.ports.login(service, ctid, port)

    terminal.show(calls.run(credentials.holder(url, token), made), as_json=as_json)


def publish(
    url: str,
    token: str | None,
    name: str,
    port: int,
    *,
    public: bool,
    expires_at: datetime | None,
    as_json: bool,
) -> None:
    """Publish a port, and show its address; of a private one also a link for a browser."""
    access: schemas.PortAccess = "public" if public else "private"
    wish = schemas.PortRequest(port=port, access=access, expires_at=expires_at)

    async def done(
        service: client.Client,
    ) -> tuple[schemas.PortItem, schemas.PortLoginAnswer | None]:
        ctid = await client.names.resolve(service, name)
        made = await client.ports.publish(service, ctid, wish)
        return made, None if public else await client.ports.login(service, ctid, port)

    made, login = calls.run(credentials.holder(url, token), done)
    terminal.show(made, as_json=as_json)
    if login is not None and not as_json:
        terminal.say("private: open this link in a browser, once, within 5 minutes:")
        terminal.say(login.url)


def unpublish(url: str, token: str | None, name: str, port: int, *, as_json: bool) -> None:
    """Take a published port back, and show the others."""

    async def done(service: client.Client) -> list[schemas.PortItem]:
        ctid = await client.names.resolve(service, name)
        return await client.ports.unpublish(service, ctid, port)

    _show(calls.run(credentials.holder(url, token), done), as_json=as_json)


def _show(items: Sequence[schemas.PortItem], *, as_json: bool) -> None:
    if as_json:
        terminal.show_list(items)
    elif items:
        terminal.show_columns([_HEADS, *map(_row, items)])
    else:
        terminal.say("no port of this container is published")


def _row(item: schemas.PortItem) -> tuple[str, str, str, str]:
    until = terminal.moment(item.expires_at) or "the end of the lease"
    return str(item.port), item.access, until, item.url
