"""Loads the catalogue: the operator's file, or the built-in one."""

from importlib import resources
from pathlib import Path

from pve402 import config
from pve402.domain import catalogue


def load(settings: config.Settings) -> catalogue.Catalogue:
    """Read the operator's catalogue, or the built-in one. Raises CatalogueError."""
    if settings.pve402_catalogue is not None:
        return _read(settings.pve402_catalogue)
    shipped = resources.files("pve402.domain") / "default_catalogue.toml"
    return catalogue.parse(shipped.read_text())


def _read(file: Path) -> catalogue.Catalogue:
    """Read the operator's file. Raises CatalogueError, which names the file and its variable."""
    try:
        return catalogue.parse(file.read_text())
    except (catalogue.CatalogueError, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise catalogue.CatalogueError(f"PVE402_CATALOGUE: {file}: {reason}") from None
