"""Settings of the operator: read once, checked, never changed."""

from pve402.config.key import secret_key
from pve402.config.settings import Settings, SettingsError, load

__all__ = ["Settings", "SettingsError", "load", "secret_key"]
