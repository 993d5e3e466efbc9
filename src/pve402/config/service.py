"""Settings of the service itself: database, addresses, name, catalogue and logs."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import pydantic
from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode

from pve402.config import sites, values

Url = Annotated[str, AfterValidator(values.http_url)]
Bind = Annotated[str, AfterValidator(values.bind_address)]
_EVERY_ADDRESS = frozenset({"0.0.0.0", "[::]", "::", "*"})  # noqa: S104 -- compared, not bound


class ServiceSettings(BaseSettings):
    """Where the service keeps its state and how it is reached."""

    database_url: Annotated[SecretStr, AfterValidator(values.database_url)] = Field(
        SecretStr("sqlite:///pve402.sqlite3"),
        validate_default=True,
        description="SQLite file or PostgreSQL.",
        examples=["postgresql://pve402:password@db.example.com/pve402"],
    )
    pve402_secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="Encrypts secrets in the database; with SQLite, generated next to the file.",
        examples=["the output of: openssl rand -hex 32"],
    )
    pve402_public_url: Url | None = Field(
        None,
        description="Public address of this service as tenants see it, without a path.",
        examples=["https://rent.example.com"],
    )
    pve402_guest_url: Url | None = Field(
        None,
        description="Address at which containers reach this service, to fetch uploads; the public"
        " address by default.",
        examples=["http://10.0.0.5:4021"],
    )
    pve402_guest_bind: Bind | None = Field(
        None,
        description="Address of a listener for containers that fetch uploads, and for nothing else;"
        " isolated ones reach PVE402_GUEST_URL only with it.",
        examples=["10.0.0.5:4023"],
    )
    pve402_shop: bool = Field(
        True, description="Whether browsers that open the public address get the shop."
    )
    pve402_ports_domain: Annotated[str, AfterValidator(values.ports_domain)] | None = Field(
        None,
        description="Domain under which containers' ports get names; not under the registrable"
        " domain of the public address.",
        examples=["ports.example.net"],
    )
    pve402_ports_warning: bool = Field(
        True, description="Whether browsers get a warning, once, before a public port's pages."
    )
    pve402_ports_contact: str | None = Field(
        None,
        max_length=200,
        description="Whom that warning names for reports of abuse.",
        examples=["abuse@example.com"],
    )
    pve402_catalogue: Annotated[Path, AfterValidator(values.readable_file)] | None = Field(
        None,
        description="TOML file that lists the skus for sale.",
        examples=["/etc/pve402/catalogue.toml"],
    )
    pve402_host: str = Field("127.0.0.1", description="Address to listen on.")
    pve402_port: int = Field(4021, ge=1, le=65535, description="Port to listen on.")
    pve402_peer_bind: Bind | None = Field(
        None,
        description="Private address at which other replicas reach this one.",
        examples=["10.0.0.5:4022"],
    )
    pve402_metrics_bind: Bind | None = Field(
        None, description="Address of Prometheus metrics.", examples=["127.0.0.1:9402"]
    )
    pve402_ssh_bind: Bind | None = Field(
        None,
        description="Address of the jump host for SSH, which does not run unless this is set.",
        examples=["0.0.0.0:2222"],
    )
    pve402_ssh_address: Annotated[str, AfterValidator(values.host_and_port)] | None = Field(
        None,
        description="Where tenants reach the jump host; by default the host of the public address,"
        " and the port of PVE402_SSH_BIND.",
        examples=["ssh.example.com:22"],
    )
    pve402_ssh_proxies: Annotated[values.Names, AfterValidator(values.ip_networks)] = Field(
        (),
        description="TCP balancers in front of the jump host, separated by commas. Each connection"
        " of theirs must begin with a header of the PROXY protocol, version 1 or 2.",
        examples=["10.0.0.2"],
    )
    pve402_instance: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
        description="Name that marks our containers; derived from the key if not set.",
        examples=["main"],
    )
    pve402_grace_hours: float = Field(
        24,
        ge=0,
        le=24 * 366,
        description="Hours to keep an expired container and its disk for a renewal, at most.",
    )
    pve402_grace_per_paid: float = Field(
        24, ge=0, description="Also at most this many times the container's paid time."
    )
    pve402_address_rest_minutes: float = Field(
        10,
        ge=0,
        le=366 * 24 * 60,
        description="Minutes for which nobody gets an address that a container gave back.",
    )
    pve402_address_history_days: float = Field(
        365, ge=0, le=3660, description="Days to keep the record of who had which address."
    )
    pve402_stats_node_fields: Annotated[
        tuple[str, ...], NoDecode, AfterValidator(values.stats_fields)
    ] = Field(
        ("cpu", "memory", "disk"),
        validate_default=True,
        description="What GET /stats/node shows: cpu, memory, disk, name; or `none`.",
        examples=["cpu,memory"],
    )
    pve402_log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level to log."
    )
    pve402_log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Log lines for people or for programs; auto: for people on a terminal."
    )

    @pydantic.model_validator(mode="after")
    def _check_service(self) -> Self:
        """Refuse settings that contradict each other."""
        if not self.uses_sqlite and self.pve402_secret_key is None:
            raise values.disagrees("PVE402_SECRET_KEY", "is required with PostgreSQL")
        if (self.pve402_peer_bind or "").rpartition(":")[0] in _EVERY_ADDRESS:
            reason = "must be an address that the other replicas can reach"
            raise values.disagrees("PVE402_PEER_BIND", reason)
        self._check_guest_bind()
        address = urlsplit(self.pve402_public_url or "")
        if address.path or address.query:
            raise values.disagrees("PVE402_PUBLIC_URL", "must have neither a path nor a query")
        if self.pve402_ports_domain is not None:
            _check_apart(self.pve402_ports_domain, urlsplit(self.public_url).hostname or "")
        return self

    def _check_guest_bind(self) -> None:
        if self.pve402_guest_bind is None:
            return
        name = "PVE402_GUEST_BIND"
        if self.pve402_guest_url is None:
            raise values.disagrees("PVE402_GUEST_URL", f"is required together with {name}")
        port = values.port_of(self.pve402_guest_url)
        if port in values.PORTS_OF_NODES:
            reason = f"must not use port {port}, where Proxmox VE may answer"
            raise values.disagrees("PVE402_GUEST_URL", reason)

    @property
    def public_url(self) -> str:
        """Our own address, without a trailing slash."""
        if self.pve402_public_url:
            return self.pve402_public_url
        host = self.pve402_host
        reachable = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 -- compared, not bound
        bracketed = f"[{reachable}]" if ":" in reachable else reachable
        return f"http://{bracketed}:{self.pve402_port}"

    @property
    def ssh_address(self) -> tuple[str, int]:
        """The host and port at which tenants reach the jump host."""
        if self.pve402_ssh_address:
            host, _, port = self.pve402_ssh_address.rpartition(":")
            return host, int(port)
        host = urlsplit(self.public_url).hostname or ""
        bracketed = f"[{host}]" if ":" in host else host
        return bracketed, int((self.pve402_ssh_bind or "").rpartition(":")[2] or 0)

    @property
    def uses_sqlite(self) -> bool:
        """Whether the database is a local file, not a server."""
        return self.database_url.get_secret_value().startswith("sqlite")


def _check_apart(ports_domain: str, public_host: str) -> None:
    """Refuse names of ports that browsers take for the same site as the service itself.

    Pages of tenants could then set cookies for the service, and ask it with the cookies it set.
    """
    if sites.are_one(f"name.{ports_domain.partition(':')[0]}", public_host):
        reason = (
            "must not share its registrable domain with PVE402_PUBLIC_URL, where pages of tenants"
            " could meddle with the service; use another domain"
        )
        raise values.disagrees("PVE402_PORTS_DOMAIN", reason)
