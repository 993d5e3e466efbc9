"""The secret key: set by the operator, or generated once next to the SQLite file.

Replicas that share a PostgreSQL database must share the key, so there it is required and never
generated.
"""

import hashlib
import os
import secrets
from pathlib import Path

from pve402.config.settings import Settings, SettingsError

_VARIABLE = "PVE402_SECRET_KEY"


def secret_key(settings: Settings, *, make: bool = True) -> bytes:
    """Return the 32 bytes that other keys are derived from; creates the file on first use.

    With `make` off, a missing key is generated but not stored. Raises SettingsError if the key's
    file cannot be read or created.
    """
    if settings.pve402_secret_key is not None:
        return _digest(settings.pve402_secret_key.get_secret_value())
    file = key_file(settings)
    if file is None:  # an in-memory database ends with the process, so its key may too
        return secrets.token_bytes(32)
    if not make and not is_kept(settings):
        return secrets.token_bytes(32)
    try:
        return _digest(_read_or_make(file))
    except OSError as error:
        if not file.parent.is_dir():
            reason = f"DATABASE_URL: there is no directory {file.parent}"
            raise SettingsError({"DATABASE_URL": reason}) from None
        reason = f"cannot be kept in {file}: {error.strerror}"
        raise SettingsError({_VARIABLE: f"{_VARIABLE}: {reason}"}) from None


def is_kept(settings: Settings) -> bool:
    """Return whether the secret key is set or stored in its file."""
    file = key_file(settings)
    return settings.pve402_secret_key is not None or (file is not None and file.exists())


def key_file(settings: Settings) -> Path | None:
    """Return the path of a SQLite file's key, or None for an in-memory database."""
    file = sqlite_file(settings)
    return None if file is None else Path(f"{file}.key")


def sqlite_file(settings: Settings) -> Path | None:
    """Return the path of the SQLite file, or None for any other database."""
    url = settings.database_url.get_secret_value()
    path = url.partition(":///")[2].partition("?")[0]
    return Path(path) if settings.uses_sqlite and path not in {"", ":memory:"} else None


def _read_or_make(file: Path) -> str:
    """The complete file is linked into place, so that two first starts agree on one key."""
    if not file.exists():
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(32) + "\n")
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return file.read_text().strip()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.strip().encode()).digest()
