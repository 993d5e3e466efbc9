"""Commands for tenants: quote, lease, renew, list, end. Exit codes: see exit_codes.py.

The wallet's key comes from PVE402_WALLET_KEY, never from the command line, where others see it.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from pydantic import BaseModel

from pve402 import schemas
from pve402.cli import exit_codes
from pve402.client import client

Result = TypeVar("Result")

KEY_VARIABLE = "PVE402_WALLET_KEY"

Url = Annotated[str, typer.Option("--url", envvar="PVE402_URL", help="Address of the service.")]
Cap = Annotated[
    str | None,
    typer.Option(
        "--max-usd", envvar="PVE402_MAX_USD", help="Pay up to this without asking; else it asks."
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="PVE402_TOKEN", help="Token of a lease, in place of a key."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Minutes = Annotated[int, typer.Option(min=1, help="Minutes to rent.")]
Sku = Annotated[str, typer.Option(help="What to rent.")]
Cores = Annotated[int, typer.Option(min=1, help="Processor cores.")]
Memory = Annotated[int, typer.Option(min=1, help="Memory, in MiB.")]
Disk = Annotated[int, typer.Option(min=1, help="Disk, in GiB.")]
SshKeys = Annotated[
    list[Path] | None, typer.Option(help="File with an SSH public key; may be repeated.")
]
Ctid = Annotated[str, typer.Argument(help="ctid or leaseId.")]

_PRIVATE_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
DEFAULT_URL = "http://127.0.0.1:4021"


def add_to(app: typer.Typer) -> None:
    """Add the tenants' commands to the command line."""
    app.command()(quote)
    app.command()(lease)
    app.command()(renew)
    app.command(name="list")(list_leases)
    app.command()(end)


def quote(
    *,
    minutes: Minutes = 60,
    sku: Sku = "standard-lxc",
    cores: Cores = 1,
    memory_mb: Memory = 512,
    disk_gb: Disk = 8,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Say what a container costs; free."""
    wish = schemas.LeaseRequest(
        sku=sku,
        runtime_minutes=minutes,
        hostname="quote",
        cores=cores,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
    )
    priced = _run(client.Client(url), lambda service: service.quote(wish))
    _show(priced, as_json=as_json)


def lease(  # noqa: PLR0913 -- one option each
    *,
    hostname: Annotated[str, typer.Option(help="Host name of the container.")],
    minutes: Minutes = 60,
    sku: Sku = "standard-lxc",
    cores: Cores = 1,
    memory_mb: Memory = 512,
    disk_gb: Disk = 8,
    template: Annotated[str | None, typer.Option(help="One of the sku's templates.")] = None,
    ssh_key: SshKeys = None,
    max_usd: Cap = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Lease a container and pay for it.

    Without --ssh-key the root password is asked for, or read from PVE402_ROOT_PASSWORD.
    """
    keys = [_public_key(file) for file in ssh_key or []]
    wish = schemas.LeaseRequest(
        sku=sku,
        runtime_minutes=minutes,
        hostname=hostname,
        cores=cores,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
        template=template,
        ssh_public_keys=keys,
        password=None if keys else _password(),
    )
    priced = _run(client.Client(url), lambda service: service.quote(wish))
    paying = client.Client(url, key=_key(), cap_usd=_cap(max_usd, priced))
    bought = _run(paying, lambda service: service.lease(wish))
    _show(bought.answer, as_json=as_json)


def renew(
    ctid: Ctid,
    minutes: Minutes = 60,
    max_usd: Cap = None,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add minutes to a lease and pay for them."""
    wish = schemas.RenewalQuoteRequest(ctid=ctid, runtime_minutes=minutes)
    priced = run_for_holder(url, token, lambda service: service.quote(wish))
    paying = client.Client(url, key=_key(), token=token, cap_usd=_cap(max_usd, priced))
    bought = _run(paying, lambda service: service.renew(ctid, minutes))
    _show(bought.answer, as_json=as_json)


def list_leases(
    include_over: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List one's leases; free, by a signature of the wallet or a token."""

    async def listed(service: client.Client) -> list[schemas.LeaseItem]:
        return await service.leases(include_over=include_over)

    _show_list(run_for_holder(url, token, listed), as_json=as_json)


def end(ctid: Ctid, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """End a lease early; nothing is refunded."""
    _show(run_for_holder(url, token, lambda service: service.end(ctid)), as_json=as_json)


def run_for_holder(
    url: str, token: str | None, act: Callable[[client.Client], Awaitable[Result]]
) -> Result:
    """Run calls with a token, or else signed in with the wallet; both are free."""
    if token:
        return _run(client.Client(url, token=token), act)

    async def signed_in(service: client.Client) -> Result:
        await service.log_in()
        return await act(service)

    return _run(client.Client(url, key=_key()), signed_in)


def _run(caller: client.Client, act: Callable[[client.Client], Awaitable[Result]]) -> Result:
    """Run one call, and turn what goes wrong into a sentence and an exit code."""

    async def within() -> Result:
        async with caller:
            return await act(caller)

    try:
        return asyncio.run(within())
    except client.ClientError as error:
        typer.echo(f"pve402: {error}", err=True)
        raise typer.Exit(exit_codes.of(error)) from None


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        _misused(f"set {KEY_VARIABLE} to the private key of the wallet that pays")
    if not _PRIVATE_KEY.fullmatch(key):
        _misused(f"{KEY_VARIABLE} is not a private key: 64 hexadecimal digits behind 0x")
    return key


def _public_key(file: Path) -> str:
    try:
        text = file.read_text().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        _misused(f"--ssh-key {file}: {reason}")
    if "PRIVATE KEY" in text:
        _misused(f"--ssh-key {file}: this is a private key; give the public one, {file.name}.pub")
    return text


def _password() -> str:
    given = os.environ.get("PVE402_ROOT_PASSWORD")
    if given:
        return given
    if not sys.stdin.isatty():
        _misused("give --ssh-key or set PVE402_ROOT_PASSWORD")
    asked: str = typer.prompt("Root password", hide_input=True, confirmation_prompt=True)
    return asked


def _cap(max_usd: str | None, priced: schemas.Quote) -> Decimal:
    """Return what may be paid: what the caller allowed, or the price if they agree to it now."""
    price_usd = _offered_usd(priced)
    if max_usd is None:
        if not sys.stdin.isatty():
            _misused("give --max-usd, or run where you can be asked")
        if not typer.confirm(f"Pay {price_usd} USD?", err=True):
            raise typer.Exit(exit_codes.NOT_PAID)
        return price_usd
    try:
        return Decimal(max_usd)
    except InvalidOperation:
        _misused("--max-usd must be a number such as 0.50")


def _offered_usd(priced: schemas.Quote) -> Decimal:
    """Return the dearest offer in USD, rounded up to its atomic units as it will be paid."""
    return max(Decimal(offer.amount).scaleb(-offer.decimals) for offer in priced.accepts)


def _misused(message: str) -> NoReturn:
    typer.echo(f"pve402: {message}", err=True)
    raise typer.Exit(exit_codes.USAGE)


def _show(answer: BaseModel, *, as_json: bool) -> None:
    facts = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    _print_columns([(name, _plain(value)) for name, value in facts.items()])


def _show_list(items: list[schemas.LeaseItem], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([item.model_dump(by_alias=True, mode="json") for item in items]))
        return
    rows = [("ctid", "status", "guest", "expires", "leaseId", "hostname"), *map(_row, items)]
    _print_columns(rows)


def _row(item: schemas.LeaseItem) -> tuple[str, ...]:
    until = f"{item.expires_at:%Y-%m-%d %H:%M:%S}Z" if item.expires_at else ""
    row = (item.ctid or "", item.status, item.vm_status.status, until, item.lease_id)
    return (*map(_plain, row), _plain(item.hostname))


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows under each other, each value whole: a token that is cut or folded is lost."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{value:<{width}}" for value, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def _plain(value: object) -> str:
    """Text of one line; what would steer the terminal is shown as a question mark."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(character if character.isprintable() else "?" for character in text)
