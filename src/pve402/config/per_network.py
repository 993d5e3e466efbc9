"""Variables that name one network, such as RPC_URL_BASE_SEPOLIA."""

from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from pve402.payments import networks

_TABLES = {"rpc_url": "rpc_urls", "facilitator_url": "facilitator_urls"}


class PerNetworkSource(PydanticBaseSettingsSource):
    """Variables such as RPC_URL_BASE_SEPOLIA, by the CAIP-2 id of their network."""

    def __init__(
        self, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource
    ) -> None:
        super().__init__(settings_cls)
        self._variables: dict[str, str | None] = {}
        for source in sources:
            if isinstance(source, EnvSettingsSource):
                self._variables |= {k.lower(): v for k, v in source.env_vars.items()}

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Unused: __call__ fills all fields at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The two tables of addresses."""
        found: dict[str, dict[str, str]] = {table: {} for table in _TABLES.values()}
        for network in networks.NETWORKS:
            suffix = network.name.replace("-", "_").lower()
            for prefix, table in _TABLES.items():
                value = self._variables.get(f"{prefix}_{suffix}")
                if value:
                    found[table][network.caip2] = value
        return {table: urls for table, urls in found.items() if urls}
