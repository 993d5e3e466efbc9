"""Proxmox VE settings: its address, our credentials, and what containers are made of."""

from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from pve402.config import values


class ProxmoxSettings(BaseSettings):
    """The variables `PVE_*`."""

    pve_host: Annotated[str, AfterValidator(values.proxmox_host)] = Field(
        description="Address of Proxmox VE; scheme and port are optional.",
        examples=["https://192.168.1.100:8006"],
    )
    pve_token_id: Annotated[str, AfterValidator(values.token_id)] = Field(
        description="API token, as user@realm!name.",
        examples=["pve402@pve!service"],
    )
    pve_token_secret: Annotated[SecretStr, AfterValidator(values.token_secret)] = Field(
        description="Secret of the API token.", examples=["12345678-90ab-cdef-1234-567890abcdef"]
    )
    pve_node: str = Field(
        "",
        pattern=r"^(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)?$",
        description="The only node to use; empty for any node.",
    )
    pve_storage: str = Field(
        pattern=r"^[A-Za-z][\w.\-]*$",
        description="Storage for the containers' disks.",
        examples=["local-lvm"],
    )
    pve_os_template: str = Field(
        pattern=r"^[A-Za-z][\w.\-]*:\S+$",
        description="Template for containers whose sku does not name one.",
        examples=["local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst"],
    )
    pve_root_password: SecretStr | None = Field(
        None,
        description="Password of root@pam, where Proxmox VE's consoles refuse API tokens.",
    )
    pve_verify_ssl: bool = Field(True, description="Check Proxmox VE's certificate.")
    pve_ca_file: Annotated[Path, AfterValidator(values.certificate_file)] | None = Field(
        None,
        description="PEM file of the authority that signed Proxmox VE's certificate.",
        examples=["/etc/pve402/pve-root-ca.pem"],
    )
    pve_fingerprint: Annotated[str, AfterValidator(values.fingerprint)] | None = Field(
        None,
        description="SHA-256 fingerprint of the certificate, checked instead of its chain.",
        examples=[":".join(["AB"] * 32)],
    )
    pve_console_host: str | None = Field(
        None,
        description="Proxmox VE host for tenants' browsers, for PVE_CONSOLE_MODE=direct only.",
        examples=["https://pve.example.com:8006"],
    )
    pve_console_mode: Literal["proxy", "direct"] = Field(
        "proxy",
        description="Consoles through this service (proxy), or from Proxmox VE itself (direct).",
    )
    pve_console_user: str | None = Field(
        None,
        pattern=r"^[^\s:/@!]+@[A-Za-z][\w.\-]*$",
        description="User for consoles, where Proxmox VE's consoles refuse API tokens.",
        examples=["pve402@pve"],
    )
    pve_console_password: SecretStr | None = Field(
        None, description="Password of PVE_CONSOLE_USER."
    )
    pve_exec: Literal["auto", "terminal", "api"] = Field(
        "auto",
        description="Run commands through the terminal, or the exec call that some hosts provide.",
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
    pve_firewall: bool = Field(True, description="Use Proxmox VE's firewall for the containers.")
    pve_rate_mbps: float | None = Field(
        None, gt=0, description="Rate limit of a container's network card, in megabytes per second."
    )
    pve_nameserver: Annotated[str, AfterValidator(values.ip)] | None = Field(
        None, description="Name server of the containers; the node's by default."
    )
    pve_pool: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][\w.\-/]*$", description="Resource pool for the containers."
    )

    @pydantic.model_validator(mode="after")
    def _check_proxmox(self) -> Self:
        """Refuse settings that contradict each other."""
        if self.pve_vmid_min > self.pve_vmid_max:
            raise values.disagrees("PVE_VMID_MAX", "must not be below PVE_VMID_MIN")
        if self.pve_console_mode == "direct" and not self.pve_console_host:
            raise values.disagrees("PVE_CONSOLE_HOST", "is required with PVE_CONSOLE_MODE=direct")
        if bool(self.pve_console_user) != bool(self.pve_console_password):
            raise values.disagrees(
                "PVE_CONSOLE_PASSWORD", "is required together with PVE_CONSOLE_USER"
            )
        return self
