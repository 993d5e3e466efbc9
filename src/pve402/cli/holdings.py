"""The work on a tenant's leases: list them, get a new token, switch power, end."""

from collections.abc import Awaitable, Callable

import typer

from pve402 import client, schemas
from pve402.cli import calls, credentials, exit_codes, terminal

Act = Callable[[client.Client, str], Awaitable[schemas.LeaseItem]]

_HEADS = ("ctid", "status", "guest", "expires", "leaseId", "hostname")


def show_all(url: str, token: str | None, *, include_over: bool, as_json: bool) -> None:
    """Show the leases, or say that there are none."""

    async def listed(service: client.Client) -> None:
        items = await service.leases(include_over=include_over)
        if as_json:
            terminal.show_list(items)
        elif items:
            terminal.show_columns([_HEADS, *map(_row, items)])
        else:
            terminal.say(_none(include_over))

    calls.run(credentials.holder(url, token), listed)


def new_token(url: str, name: str, *, as_json: bool) -> None:
    """Get a new token for a lease and show it."""

    async def issued(service: client.Client) -> None:
        lease = await client.names.resolve(service, name)
        lease_id = (await service.show(lease)).lease_id
        terminal.show(await service.log_in(lease_id), as_json=as_json)

    calls.run(client.Client(url, key=credentials.wallet_key()), issued)


def end(url: str, token: str | None, name: str, *, without_asking: bool, as_json: bool) -> None:
    """End a lease after the user confirms."""
    if not without_asking and not terminal.can_ask():
        terminal.misused("give --yes, or run this in a terminal")

    async def ended(service: client.Client) -> schemas.LeaseItem | None:
        lease = await client.names.resolve(service, name)
        if not without_asking and not await _agreed(await service.show(lease)):
            return None
        return await service.end(lease)

    shown = calls.run(credentials.holder(url, token), ended)
    if shown is None:
        raise typer.Exit(exit_codes.DECLINED)
    terminal.show(shown, as_json=as_json)


def switch(url: str, token: str | None, name: str, act: Act, *, as_json: bool) -> None:
    """Start, stop or reboot a lease's container if asked to, and show its state afterwards."""

    async def switched(service: client.Client) -> schemas.LeaseItem:
        return await act(service, await client.names.resolve(service, name))

    terminal.show(calls.run(credentials.holder(url, token), switched), as_json=as_json)


async def _agreed(lease: schemas.LeaseItem) -> bool:
    return await terminal.confirm(
        f"Destroy {lease.hostname} (ctid {lease.ctid or 'none yet'}, {lease.lease_id},"
        f" {lease.status}) and all its data? Nothing is refunded."
    )


def _none(include_over: bool) -> str:
    if include_over:
        return "you never had a lease here"
    return "you have no current lease here; --all shows those that are over"


def _row(item: schemas.LeaseItem) -> tuple[str, ...]:
    until = f"{item.expires_at:%Y-%m-%d %H:%M:%S}Z" if item.expires_at else ""
    guest = item.vm_status.status
    return (item.ctid or "", item.status, guest, until, item.lease_id, item.hostname)
