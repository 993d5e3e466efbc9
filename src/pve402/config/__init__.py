"""The operator's settings: read once, checked, never changed."""

from pve402.config.key import is_kept as is_key_kept
from pve402.config.key import secret_key, sqlite_file
from pve402.config.settings import Settings, SettingsError, load
from pve402.config.unknown import known_variables, unknown_variables

__all__ = [
    "Settings",
    "SettingsError",
    "is_key_kept",
    "known_variables",
    "load",
    "secret_key",
    "sqlite_file",
    "unknown_variables",
]
