"""Settings: read once from the environment and a `.env` file, checked, and never changed.

Each field is the variable of the same name in capitals; its description is the reference text. Call
`load`: it reports all mistakes in one SettingsError, which names each variable, the reason and an
example. Secrets are SecretStr and never appear in error texts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pve402.config import env_file as env_files
from pve402.config import per_network, problems
from pve402.config.limits import LimitSettings
from pve402.config.payments import PaymentSettings
from pve402.config.proxmox import ProxmoxSettings
from pve402.config.service import ServiceSettings


class SettingsError(Exception):
    """One or more settings are missing or invalid; the text has a line for each."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems.values()))


# The reference lists the bases from last to first.
class Settings(LimitSettings, ServiceSettings, PaymentSettings, ProxmoxSettings):
    """Everything an operator can set. An empty variable counts as unset."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, env_prefix="", populate_by_name=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the per-network variables to the usual sources; the environment wins."""
        named = per_network.PerNetworkSource(settings_cls, dotenv_settings, env_settings)
        return init_settings, env_settings, dotenv_settings, named


def load(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings from the environment and a file, `.env` by default.

    `overrides` are fields by name and take precedence over both. Raises SettingsError.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError({"--env-file": f"--env-file: there is no file {env_file}"})
    file = env_file or Path(".env")
    try:
        if file.exists():
            env_files.check(file)
    except ValueError as error:
        raise SettingsError({str(file): f"{file}: {error}"}) from None
    try:
        return Settings(_env_file=file, **overrides)  # type: ignore[call-arg]  # of BaseSettings
    except pydantic.ValidationError as error:
        raise SettingsError(problems.explain(error, Settings.model_fields)) from None
