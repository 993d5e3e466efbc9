"""Runs the gateway for E2B's SDKs, with the wallet of a service."""

import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from pve402 import client
from pve402.cli import calls, credentials, terminal, wallet_work
from pve402.client import spending
from pve402.e2b import sandboxes, secret, server
from pve402.sdk import paying

_TEMPLATE: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._/:-]{0,127})=([^/\s]{1,64})(?:/(\S{1,200}))?"
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user wants of the gateway."""

    port: int
    templates: Sequence[str]
    cores: int | None
    memory_mb: int | None
    disk_gb: int | None
    publish: tuple[int, ...]
    max_usd: str
    budget_usd: str | None


def run(url: str, asked: Asked) -> None:
    """Serve until a signal ends it."""
    service = credentials.buyer(url)
    service.cap_usd = _usd(asked.max_usd)
    budget_micro_usd = wallet_work.micro_usd(asked.budget_usd, None)
    if budget_micro_usd is not None:
        limits = spending.Limits(in_all_micro_usd=budget_micro_usd)
        service.book = service.book.within(f"e2b-{secrets.token_hex(8)}", limits)
    templates = _templates(asked)

    async def serve(service: client.Client) -> None:
        key = secret.load(secret.key_file())
        known = sandboxes.Sandboxes(service, key, templates=templates, ports=asked.publish)
        await server.serve(known, asked.port, _tell)

    calls.run(service, serve)


def _usd(text: str) -> Decimal:
    try:
        return paying.usd(text)
    except client.RequestInvalid as error:
        terminal.misused(str(error))


def _templates(asked: Asked) -> dict[str, sandboxes.Template]:
    usual = sandboxes.Template(cores=asked.cores, memory_mb=asked.memory_mb, disk_gb=asked.disk_gb)
    found = {"base": usual}
    for text in asked.templates:
        parts = _TEMPLATE.fullmatch(text)
        if parts is None:
            terminal.misused("--template is NAME=SKU or NAME=SKU/OS-TEMPLATE")
        name, sku, template = parts.groups()
        found[name] = replace(usual, sku=sku, template=template)
    return found


def _tell(address: str) -> None:
    """Say what a program needs; the key itself is not shown."""
    terminal.say(f"E2B's API is at {address}; for your program:")
    rows = [
        (f"export E2B_API_URL={address}",),
        (f"export E2B_SANDBOX_URL={address}",),
        (f'export E2B_API_KEY="$(cat {shlex.quote(str(secret.key_file()))})"',),
    ]
    terminal.show_columns(rows)
