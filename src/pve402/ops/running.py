"""Runs one command of operators: settings, components, exit codes."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from pve402 import bootstrap, config
from pve402.config import logs
from pve402.domain import errors
from pve402.domain.catalogue import CatalogueError
from pve402.proxmox import errors as pve
from pve402.storage.database import DatabaseBusyError

EXIT_BAD_SETTINGS: Final = 2
EXIT_UNREACHABLE: Final = 3
_NO_KEY = (
    "PVE402_SECRET_KEY: neither set nor in a file next to the database; without the key that "
    "our containers were made with, we cannot recognise them"
)

_NO_TABLES = (
    "DATABASE_URL: there are no pve402 tables; the first start of the service creates"
    " them, and `pve402 ops rebuild` restores lost leases"
)

EnvFile = Annotated[Path | None, typer.Option(help="File with settings; `.env` by default.")]
Work = Callable[[bootstrap.Components, Console], Awaitable[int]]


def run(
    env_file: Path | None,
    work: Work,
    *,
    needs_key: bool = False,
    needs_tables: bool = False,
    may_be_first: bool = False,
) -> None:
    """Run a command. One that may be the first makes the secret key, as the service would."""
    try:
        settings = config.load(env_file)
        level = settings.pve402_log_level
        # What a running service reports about itself would only clutter this command's output.
        logs.configure("warning" if level == "info" else level, settings.pve402_log_format)
        if needs_key and not config.is_key_kept(settings):
            raise config.SettingsError({"PVE402_SECRET_KEY": _NO_KEY})
        components = bootstrap.build(settings, makes_key=may_be_first and _is_new(settings))
        code = asyncio.run(_with(components, work, needs_tables=needs_tables))
    except (config.SettingsError, CatalogueError) as error:
        sys.stderr.write(f"these settings are missing or wrong:\n\n{error}\n")
        raise typer.Exit(EXIT_BAD_SETTINGS) from None
    except (pve.ProxmoxError, errors.TryLater, DatabaseBusyError) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(EXIT_UNREACHABLE) from None
    raise typer.Exit(code)


async def _with(components: bootstrap.Components, work: Work, *, needs_tables: bool) -> int:
    """Run a command without starting the service; closes its connections afterwards."""
    try:
        if needs_tables and not await components.db.has_tables():
            raise config.SettingsError({"DATABASE_URL": _NO_TABLES})
        await components.versions.adopt()
        return await work(components, Console())
    finally:
        await components.close()


def _is_new(settings: config.Settings) -> bool:
    """Return whether nothing was ever sold from here: there is not even a file with tables."""
    file = config.sqlite_file(settings)
    return file is not None and not file.exists()
