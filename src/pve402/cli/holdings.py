"""The work on a tenant's leases: list them, get a new token, switch power, end."""

import contextlib
import html
import re
import webbrowser
from collections.abc import Awaitable, Callable

import typer

from pve402 import client, schemas
from pve402.cli import calls, credentials, exit_codes, terminal
from pve402.client import private

Act = Callable[[client.Client, str], Awaitable[schemas.LeaseItem]]

_LEADS_TO = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}">
<title>pve402</title><p><a href="{link}">Open the console</a></p>
"""
_WEB = re.compile(r"https?://[\x21-\x7e]{1,2000}")
_HEADS = ("ctid", "status", "guest", "expires", "leaseId", "hostname")


def show_all(url: str, token: str | None, *, include_over: bool, as_json: bool) -> None:
    """Show the leases, or say that there are none."""

    async def listed(service: client.Client) -> None:
        items = await _leases(service, include_over)
        if as_json:
            terminal.show_list(items)
        elif items:
            terminal.show_columns([_HEADS, *map(_row, items)])
        else:
            terminal.say(_none(include_over))

    calls.run(credentials.holder(url, token), listed)


async def _leases(service: client.Client, include_over: bool) -> list[schemas.LeaseItem]:
    """The wallet's leases; without a wallet, those that this machine has tokens of."""
    if service.can_sign_in or not service.held:
        return await service.leases(include_over=include_over)
    found = []
    for one in service.held:
        with contextlib.suppress(client.Refused):  # its token opens nothing any more
            found.append(await service.show(one.lease_id))
    return [item for item in found if include_over or item.status not in client.names.OVER]


def show(url: str, token: str | None, name: str, wait_seconds: int, *, as_json: bool) -> None:
    """Show one lease, as soon as its container has addresses."""

    async def look(service: client.Client, ctid: str) -> schemas.LeaseItem:
        return await service.show(ctid, wait_seconds=wait_seconds)

    switch(url, token, name, look, as_json=as_json)


def new_token(url: str, name: str, *, as_json: bool) -> None:
    """Get a new token for a lease and show it."""

    async def issued(service: client.Client) -> None:
        lease = await service.show(await client.names.resolve(service, name))
        answer = await service.log_in(lease.lease_id)
        credentials.keep(url, lease, answer.access_token)
        terminal.show(answer, as_json=as_json)

    calls.run(credentials.buyer(url), issued)


def end(url: str, token: str | None, name: str, *, without_asking: bool, as_json: bool) -> None:
    """End a lease after the user confirms."""
    if not without_asking and not terminal.can_ask():
        terminal.misused("give --yes, or run this in a terminal")

    async def ended(service: client.Client) -> schemas.LeaseItem | None:
        lease = await client.names.resolve(service, name)
        if not without_asking and not await _agreed(await service.show(lease)):
            return None
        with terminal.working("ending the lease"):
            return await service.end(lease)

    shown = calls.run(credentials.holder(url, token), ended)
    if shown is None:
        raise typer.Exit(exit_codes.DECLINED)
    credentials.drop(url, shown.lease_id)
    terminal.show(shown, as_json=as_json)


def run_agreed(
    url: str,
    token: str | None,
    name: str,
    act: Callable[[client.Client, str], Awaitable[calls.Result]],
    *,
    question: str,
    yes: bool,
) -> calls.Result:
    """Do something with a lease after the user confirms. Exits with 2 or 8 if nobody does."""
    if not yes and not terminal.can_ask():
        terminal.misused("give --yes, or run this in a terminal")

    async def done(service: client.Client) -> calls.Result:
        ctid = await client.names.resolve(service, name)
        if not yes and not await terminal.confirm(question):
            raise typer.Exit(exit_codes.DECLINED)
        return await act(service, ctid)

    return calls.run(credentials.holder(url, token), done)


def switch(url: str, token: str | None, name: str, act: Act, *, as_json: bool) -> None:
    """Start, stop, pause or reboot a lease's container, and show its state afterwards."""

    async def switched(service: client.Client) -> schemas.LeaseItem:
        return await act(service, await client.names.resolve(service, name))

    terminal.show(calls.run(credentials.holder(url, token), switched), as_json=as_json)


def console(
    url: str, token: str | None, name: str, *, is_screen: bool, opens: bool, as_json: bool
) -> None:
    """Make a link to a console, and open it in the browser, or show it."""
    kind: schemas.ConsoleKind = "vnc" if is_screen else "terminal"

    async def made(service: client.Client) -> schemas.ConsoleAnswer:
        return await service.console(await client.names.resolve(service, name), kind)

    answer = calls.run(credentials.holder(url, token), made)
    if as_json:
        terminal.show(answer, as_json=True)
    elif not _WEB.fullmatch(answer.console_url):
        terminal.say("the service's link is not one that a browser should open")
        raise typer.Exit(exit_codes.FAILED)
    elif opens and _opened(answer.console_url):
        terminal.say("the console is open in your browser")
    else:
        terminal.show_columns([(answer.console_url,)])


def _opened(link: str) -> bool:
    """Open a link in the browser by way of a file of this user's: others can see arguments.

    The link works once, so the file is worth nothing afterwards; the next one replaces it.
    """
    page = private.state_folder() / "console.html"
    with terminal.told():
        private.write(page, _LEADS_TO.format(link=html.escape(link)))
    return webbrowser.open(page.as_uri())


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
    until = terminal.moment(item.expires_at)
    guest = client.names.guest_state(item)
    return (item.ctid or "", item.status, guest, until, item.lease_id, item.hostname)
