"""Reads the catalogue: the operator's file, or the one that ships with the program."""

import functools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from pve402 import config
from pve402.bootstrap import guests
from pve402.domain import catalogue, errors
from pve402.leases import catalogue_versions

_MOST_BYTES = 1024 * 1024


def catalogue_of(settings: config.Settings) -> catalogue.Catalogue:
    """Return the catalogue of the file, completed by the variables. Raises CatalogueError."""
    source = CatalogueFile(settings, functools.partial(_completed, settings))
    return source.parse(source.load().text)


def _completed(settings: config.Settings, text: str) -> catalogue.Catalogue:
    parsed = catalogue.parse(text).with_template(settings.pve_os_template)
    parsed = parsed.with_storage(settings.pve_storage)
    return parsed.with_network(guests.network_of_variables(settings))


def sellable(settings: config.Settings, text: str) -> catalogue.Catalogue:
    """Return the catalogue of a text if guests can be created of it, and the warm pool filled.

    Raises CatalogueError, and SettingsError for variables with which no guest could be created.
    """
    found = _completed(settings, text)
    guests.check_guests(settings, found)
    for wanted in settings.pve402_pool:
        try:
            wanted.check(found)
        except errors.InvalidRequest as error:
            raise catalogue.CatalogueError(f"PVE402_POOL: {wanted.sku}: {error}") from None
    return found


def source(settings: config.Settings, file: Path | None = None) -> "CatalogueFile":
    """Return the file of the settings, or another one to be read as if it were."""
    return CatalogueFile(settings, functools.partial(sellable, settings), file)


class CatalogueFile:
    """The file of the settings, as `catalogue_versions` looks at it."""

    def __init__(
        self,
        settings: config.Settings,
        parse: Callable[[str], catalogue.Catalogue],
        file: Path | None = None,
    ) -> None:
        """Keep the parts; `file` is read in place of the one of the settings."""
        self._file = file or settings.pve402_catalogue
        self.parse = parse

    def stamp(self) -> object:
        """Return what differs after a change."""
        if self._file is None:
            return None
        try:
            seen = self._file.stat()
        except OSError as error:
            return error.errno
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    def load(self) -> catalogue_versions.Written:
        """Read and check it. Raises CatalogueError, which names the file."""
        try:
            written = _shipped() if self._file is None else _read(self._file)
            self.parse(written.text)
        except (catalogue.CatalogueError, OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            file = "" if self._file is None else f"PVE402_CATALOGUE: {self._file}"
            raise catalogue.CatalogueError(str(reason), file=file) from None
        return written


def _shipped() -> catalogue_versions.Written:
    text = (resources.files("pve402.domain") / "default_catalogue.toml").read_text()
    return catalogue_versions.Written(text=text, changed_at=None)


def _read(file: Path) -> catalogue_versions.Written:
    with file.open("rb") as opened:
        changed_at = datetime.fromtimestamp(os.fstat(opened.fileno()).st_mtime, UTC)
        data = opened.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise catalogue.CatalogueError("it is larger than 1 MiB")
    return catalogue_versions.Written(text=data.decode(), changed_at=changed_at)
