"""Settings: read once from the environment and a `.env` file, checked, and never changed.

Each field is the variable of the same name in capitals; its description is the reference text.
`load` is the way in: everything that is wrong comes out as one SettingsError, which names each
variable, the reason and an example. Secrets are SecretStr and stand in no error text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AfterValidator, AliasChoices, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pve402.config import values
from pve402.domain.shelf import Shelf
from pve402.payments import networks

_PER_NETWORK = {"rpc_url": "rpc_urls", "facilitator_url": "facilitator_urls"}

Positive = Annotated[int, Field(ge=1)]
Url = Annotated[str, AfterValidator(values.http_url)]
Names = Annotated[tuple[str, ...], NoDecode]
Bind = Annotated[str, AfterValidator(values.bind_address)]


class SettingsError(Exception):
    """One or more settings are missing or wrong; the text has a line for each."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems.values()))


class Settings(BaseSettings):
    """Everything an operator can set. An empty variable counts as not set."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, env_prefix="", populate_by_name=True
    )

    # Proxmox VE
    pve_host: Annotated[str, AfterValidator(values.proxmox_host)] = Field(
        description="Address of Proxmox VE; scheme and port may be left out.",
        examples=["https://192.168.1.100:8006"],
    )
    pve_token_id: str = Field(
        pattern=r"^[^\s:/@!]+@[A-Za-z][\w.\-]*![A-Za-z][\w.\-]*$",
        description="API token, as user@realm!name.",
        examples=["pve402@pve!service"],
    )
    pve_token_secret: SecretStr = Field(
        description="Secret of the API token.", examples=["12345678-90ab-cdef-1234-567890abcdef"]
    )
    pve_node: str = Field("", description="Only node to use; empty: any node of the cluster.")
    pve_storage: str = Field(
        pattern=r"^[A-Za-z][\w.\-]*$",
        description="Storage for the containers' disks.",
        examples=["local-lvm"],
    )
    pve_os_template: str = Field(
        pattern=r"^[A-Za-z][\w.\-]*:\S+$",
        description="Template of containers whose sku names none.",
        examples=["local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst"],
    )
    pve_root_password: SecretStr | None = Field(
        None, description="Password of root@pam, for Proxmox VE whose consoles refuse API tokens."
    )
    pve_verify_ssl: bool = Field(True, description="Check the certificate of Proxmox VE.")
    pve_ca_file: Annotated[Path, AfterValidator(values.readable_file)] | None = Field(
        None,
        description="PEM file with the authority that signed the certificate of Proxmox VE.",
        examples=["/etc/pve402/pve-root-ca.pem"],
    )
    pve_fingerprint: Annotated[str, AfterValidator(values.fingerprint)] | None = Field(
        None,
        description="SHA-256 fingerprint of the certificate, checked in place of its chain.",
        examples=[":".join(["AB"] * 32)],
    )
    pve_console_host: str | None = Field(
        None,
        description="Host that tenants' browsers reach, for PVE_CONSOLE_MODE=direct only.",
        examples=["https://pve.example.com:8006"],
    )
    pve_console_mode: Literal["proxy", "direct"] = Field(
        "proxy",
        description="Consoles through this service (proxy), or from Proxmox VE itself (direct).",
    )
    pve_console_user: str | None = Field(
        None,
        pattern=r"^[^\s:/@!]+@[A-Za-z][\w.\-]*$",
        description="User for consoles of Proxmox VE that refuses API tokens there.",
        examples=["pve402@pve"],
    )
    pve_console_password: SecretStr | None = Field(
        None, description="Password of PVE_CONSOLE_USER."
    )
    pve_exec: Literal["auto", "terminal", "api"] = Field(
        "auto",
        description="Run commands through the terminal, or the exec call some hosts provide.",
    )
    pve_vmid_min: int = Field(10000, ge=100, le=999_999_999, description="First vmid to use.")
    pve_vmid_max: int = Field(99999, ge=100, le=999_999_999, description="Last vmid to use.")
    pve_bridge: str = Field(
        "vmbr0", pattern=r"^[A-Za-z][\w.\-]{0,14}$", description="Bridge of the containers."
    )
    pve_ip: Annotated[str, AfterValidator(values.guest_ip)] = Field(
        "dhcp",
        description="dhcp, manual, or one address with its prefix.",
        examples=["dhcp"],
    )
    pve_gateway: Annotated[str, AfterValidator(values.ip)] | None = Field(
        None, description="Gateway for a fixed address.", examples=["10.0.0.1"]
    )
    pve_vlan: int | None = Field(None, ge=1, le=4094, description="VLAN tag of the containers.")
    pve_firewall: bool = Field(True, description="Proxmox VE's firewall on the containers' card.")
    pve_rate_mbps: float | None = Field(
        None, gt=0, description="Limit of a container's network card, in megabytes per second."
    )
    pve_nameserver: Annotated[str, AfterValidator(values.ip)] | None = Field(
        None, description="Name server of the containers; the node's own if not set."
    )
    pve_pool: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][\w.\-/]*$", description="Resource pool for the containers."
    )

    # Payments
    network: Annotated[Names, AfterValidator(values.network_ids)] = Field(
        ("base-sepolia",),
        validate_default=True,
        description="Networks that pay, with commas between; x402 names or CAIP-2 ids.",
        examples=["base-sepolia,base"],
    )
    pay_to: Annotated[str, AfterValidator(values.evm_address)] = Field(
        validation_alias=AliasChoices("PAY_TO", "ADDRESS", "pay_to"),
        description="Address that is paid (ADDRESS is taken as well).",
        examples=["0x209693Bc6afc0C5328bA36FaF03C514EF312287C"],
    )
    rpc_url: Url | None = Field(
        None,
        description="JSON-RPC of the chain; RPC_URL_BASE_SEPOLIA and the like for one network.",
        examples=["https://sepolia.base.org"],
    )
    rpc_urls: Mapping[str, Url] = Field(default_factory=dict, exclude=True)
    facilitator_url: Url | None = Field(
        None,
        description="x402 facilitator; FACILITATOR_URL_BASE and the like for one network.",
        examples=[networks.PUBLIC_FACILITATOR_URL],
    )
    facilitator_urls: Mapping[str, Url] = Field(default_factory=dict, exclude=True)
    facilitator_private_key: Annotated[SecretStr, AfterValidator(values.private_key)] | None = (
        Field(
            None,
            description="Key that pays gas: settles without a facilitator where none is set.",
            examples=["0x and 64 hex digits"],
        )
    )
    cdp_api_key_id: str | None = Field(None, description="Key id for the CDP facilitator.")
    cdp_api_key_secret: SecretStr | None = Field(
        None, description="Key secret for the CDP facilitator."
    )
    trust_facilitator: bool = Field(
        False, description="Believe the facilitator without looking at the chain."
    )

    # The service
    database_url: Annotated[SecretStr, AfterValidator(values.database_url)] = Field(
        SecretStr("sqlite:///pve402.sqlite3"),
        validate_default=True,
        description="SQLite file or PostgreSQL.",
        examples=["postgresql://pve402:password@db.example.com/pve402"],
    )
    pve402_secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="Encrypts what is secret in the database; made beside a SQLite file.",
        examples=["the output of: openssl rand -hex 32"],
    )
    pve402_public_url: Url | None = Field(
        None,
        description="Our own address as tenants see it, without a path.",
        examples=["https://rent.example.com"],
    )
    pve402_catalogue: Annotated[Path, AfterValidator(values.readable_file)] | None = Field(
        None, description="TOML file of what is on sale.", examples=["/etc/pve402/catalogue.toml"]
    )
    pve402_host: str = Field("127.0.0.1", description="Address to listen on.")
    pve402_port: int = Field(4021, ge=1, le=65535, description="Port to listen on.")
    pve402_peer_bind: Bind | None = Field(
        None,
        description="Address where other replicas reach this one; not public.",
        examples=["10.0.0.5:4022"],
    )
    pve402_metrics_bind: Bind | None = Field(
        None, description="Address of Prometheus metrics.", examples=["127.0.0.1:9402"]
    )
    pve402_instance: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
        description="Name of this installation, which marks its containers; else made of the key.",
        examples=["main"],
    )
    pve402_grace_hours: float = Field(
        24, ge=0, le=24 * 366, description="Hours a stopped container is kept for a renewal."
    )
    pve402_stats_node_fields: Annotated[Names, AfterValidator(values.stats_fields)] = Field(
        ("cpu", "memory", "disk"),
        validate_default=True,
        description="What GET /stats/node shows: cpu, memory, disk, name; `none` for nothing.",
        examples=["cpu,memory"],
    )
    pve402_log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least important events to log."
    )
    pve402_log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Lines for people or for programs; auto: by whether a terminal reads."
    )

    # Limits
    pve402_max_unsettled_per_wallet: Positive = Field(
        8, description="Creations of one wallet that wait for their settlement."
    )
    pve402_max_unsettled_per_address: Positive = Field(
        16, description="The same for one client address."
    )
    pve402_max_unsettled: Positive = Field(256, description="The same in all.")
    pve402_max_paid_ahead_days: float = Field(
        30, gt=0, le=366, description="How far ahead a lease can be paid."
    )
    pve402_payment_seconds: int = Field(
        600, ge=60, le=3600, description="How long a payment must stay valid (maxTimeoutSeconds)."
    )
    pve402_leases_per_node: Positive | None = Field(None, description="Most leases on one node.")
    pve402_memory_mb_per_node: Positive | None = Field(
        None, description="Most memory promised on one node, in MiB."
    )
    pve402_cores_overcommit: float = Field(
        8, gt=0, description="Cores promised on a node for each that it has."
    )
    pve402_memory_reserve_mb: int = Field(
        1024, ge=0, description="Memory of a node that is never rented out, in MiB."
    )
    pve402_node_writes: Positive = Field(
        4, description="Writing calls that one node gets at the same time."
    )
    pve402_terminals_per_node: int = Field(
        80,
        ge=1,
        le=100,
        description="Terminals that a process opens on one node, which has ports for 100.",
    )
    pve402_pool: Annotated[tuple[Shelf, ...], NoDecode, AfterValidator(values.pool)] = Field(
        (),
        description="Guests kept ready, with commas between: sku:cores:memoryMB:diskGB=count.",
        examples=["standard-lxc:1:512:8=2"],
    )
    pve402_create_wait_seconds: float = Field(
        180, ge=1, le=1800, description="How long a paid request waits for its container."
    )
    pve402_request_seconds: float = Field(
        30, ge=1, le=600, description="How long any other request may take."
    )
    pve402_max_requests: Positive = Field(
        2000, description="Requests under way; more are told to come back."
    )
    pve402_max_paid_requests: Positive = Field(
        500, description="Requests under way that carry a payment or a token."
    )
    pve402_trusted_proxies: Annotated[Names, AfterValidator(values.ip_networks)] = Field(
        (),
        description="Proxies whose X-Forwarded-For is believed, with commas between.",
        examples=["127.0.0.1,10.0.0.0/8"],
    )
    pve402_cors_origins: Annotated[Names, AfterValidator(values.names)] = Field(
        ("*",),
        description="Origins whose pages may call the API; * for all.",
        examples=["https://shop.example.com"],
    )

    @pydantic.field_validator(
        "network",
        "pve402_stats_node_fields",
        "pve402_trusted_proxies",
        "pve402_cors_origins",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        """A list is written with commas."""
        return values.split(value) if isinstance(value, str) else value

    @pydantic.field_validator("pve402_pool", mode="before")
    @classmethod
    def _read_pool(cls, value: Any) -> Any:
        """Each kind of guest is one part of a list."""
        if not isinstance(value, str):
            return value
        return tuple(Shelf.parse(part) for part in values.split(value))

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        values.check_together(self)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the variables of single networks to the usual sources; the environment wins."""
        per_network = _PerNetwork(settings_cls, dotenv_settings, env_settings)
        return init_settings, env_settings, dotenv_settings, per_network

    @property
    def public_url(self) -> str:
        """Our own address, without a slash at the end."""
        if self.pve402_public_url:
            return self.pve402_public_url
        host = self.pve402_host
        reachable = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 -- compared, not bound
        bracketed = f"[{reachable}]" if ":" in reachable else reachable
        return f"http://{bracketed}:{self.pve402_port}"

    @property
    def uses_sqlite(self) -> bool:
        """Whether the database is a file of ours and not a server."""
        return self.database_url.get_secret_value().startswith("sqlite")

    def rpc_url_of(self, network: str) -> str | None:
        """The JSON-RPC address of a CAIP-2 network: its own, the common, the public one."""
        return self.rpc_urls.get(network) or self.rpc_url or networks.BY_CAIP2[network].rpc_url

    def facilitator_url_of(self, network: str) -> str | None:
        """The facilitator of a CAIP-2 network; None where we settle with our own key."""
        chosen = self.facilitator_urls.get(network) or self.facilitator_url
        if chosen or self.facilitator_private_key:
            return chosen
        return networks.BY_CAIP2[network].facilitator_url


class _PerNetwork(PydanticBaseSettingsSource):
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
        """Every field is filled by __call__ at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The two tables of addresses."""
        found: dict[str, dict[str, str]] = {table: {} for table in _PER_NETWORK.values()}
        for network in networks.NETWORKS:
            suffix = network.name.replace("-", "_").lower()
            for prefix, table in _PER_NETWORK.items():
                value = self._variables.get(f"{prefix}_{suffix}")
                if value:
                    found[table][network.caip2] = value
        return {table: urls for table, urls in found.items() if urls}


def load(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings from the environment and a file, `.env` unless another is named.

    `overrides` are fields by name and win over both. Raises SettingsError.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError({"--env-file": f"--env-file: there is no file {env_file}"})
    try:
        return Settings(_env_file=env_file or ".env", **overrides)  # type: ignore[call-arg]  # of BaseSettings
    except pydantic.ValidationError as error:
        raise SettingsError(values.problems(error, Settings.model_fields)) from None
    except (OSError, UnicodeDecodeError) as error:
        name = str(env_file or ".env")
        raise SettingsError({name: f"{name}: cannot be read: {type(error).__name__}"}) from None
