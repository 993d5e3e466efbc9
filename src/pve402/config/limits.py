"""Settings that limit what one wallet, address, node or request may use."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from pve402.config import values
from pve402.domain import forks, snapshots

Positive = Annotated[int, Field(ge=1)]


class LimitSettings(BaseSettings):
    """Limits, and the warm pool within them."""

    pve402_max_unsettled_per_wallet: Positive = Field(
        8, description="Creations by one wallet that may wait for settlement at the same time."
    )
    pve402_max_unsettled_per_address: Positive = Field(
        16, description="The same for one client address."
    )
    pve402_max_unsettled_per_payer: Positive = Field(
        64,
        description="The most for a wallet that paid before: each of its creations and renewals"
        " that settled adds one to both limits above, unless a payment failed lately.",
    )
    pve402_max_unsettled: Positive = Field(
        256, description="Creations of all wallets together that may wait for settlement."
    )
    pve402_max_unsettled_of_new_wallets: Positive | None = Field(
        None, description="The same for all new wallets together."
    )
    pve402_wallet_limits: values.Quota = Field(
        None,
        description="The most that one wallet may lease at a time; each part may be left out.",
        examples=["leases=10,cores=16,memoryMB=32768,diskGB=200,addresses=4"],
    )
    pve402_address_limits: values.Quota = Field(
        None,
        description="The same for one client address (IPv6: one /64).",
        examples=["leases=20"],
    )
    pve402_new_wallet_limits: values.Quota = Field(
        None,
        description="The same for all new wallets together.",
        examples=["leases=50,cores=64"],
    )
    pve402_new_wallet_hours: float = Field(
        24, gt=0, le=8760, description="How long a wallet is new after its first lease."
    )
    pve402_address_requests_a_minute: Positive | None = Field(
        None, description="Requests a minute of one client address (IPv6: one /64)."
    )
    pve402_wallet_requests_a_minute: Positive | None = Field(
        None, description="Requests a minute of one wallet, with its tokens or payments."
    )
    pve402_new_wallet_requests_a_minute: Positive | None = Field(
        None, description="Requests a minute of all new wallets together."
    )
    pve402_max_paid_ahead_days: float = Field(
        30, gt=0, le=366, description="How many days ahead a lease may be paid."
    )
    pve402_payment_seconds: int = Field(
        600, ge=60, le=3600, description="How long a payment must stay valid (maxTimeoutSeconds)."
    )
    pve402_leases_per_node: Positive | None = Field(None, description="Most leases on one node.")
    pve402_snapshots: int = Field(
        0,
        ge=0,
        le=snapshots.MOST_ALLOWED,
        description="Snapshots that each container may have; 0 for none. They need the right"
        " VM.Snapshot.",
        examples=[3],
    )
    pve402_private_images: Positive = Field(
        100, description="Private images that all wallets together may keep."
    )
    pve402_private_images_per_wallet: Positive = Field(
        5, description="Private images that one wallet may keep."
    )
    pve402_forks: int = Field(
        0,
        ge=0,
        le=forks.MOST_ALLOWED,
        description="Copies of a container that one call may lease; 0 for none. They need the"
        " rights VM.Clone and VM.Snapshot.",
        examples=[3],
    )
    pve402_wakes_an_hour: Positive = Field(
        12, description="How often a paused container may be woken in an hour."
    )
    pve402_memory_mb_per_node: Positive | None = Field(
        None, description="Most memory promised on one node, in MiB."
    )
    pve402_cores_overcommit: float = Field(
        8, gt=0, description="Cores that may be promised on a node for each core it has."
    )
    pve402_disk_overcommit: float = Field(
        1,
        gt=0,
        description="Disk that may be promised for each GiB that is free or in our containers.",
    )
    pve402_memory_reserve_mb: int = Field(
        1024, ge=0, description="Memory per node that is never rented out, in MiB."
    )
    pve402_node_creates: Positive = Field(
        8, description="Containers that one node creates at the same time."
    )
    pve402_node_writes: Positive | None = Field(
        None,
        description="Calls that change one node at the same time; not set: one for each of its"
        " cores, at least 4 and at most 16. A start counts for its first quarter of a second.",
    )
    pve402_terminals_per_node: int = Field(
        80,
        ge=1,
        le=100,
        description="Terminals that one process may open on a node, which has ports for 100.",
    )
    pve402_lease_mbps: float = Field(
        20,
        gt=0,
        description="Rate limit of one lease's streams, ports, consoles, files, archives and"
        " commands, in megabytes per second, both ways together. Each process of the service"
        " applies it for itself.",
    )
    pve402_wallet_mbps: float = Field(
        40, gt=0, description="The same for all leases of one wallet together."
    )
    pve402_total_mbps: float = Field(
        100, gt=0, description="The same for all leases of all wallets together."
    )
    pve402_pool: Annotated[values.WarmPool, AfterValidator(values.warm_pool)] = Field(
        (),
        description="Guests to keep ready, separated by commas: sku:cores:memoryMB:diskGB=count.",
        examples=["standard-lxc:1:512:8=2"],
    )
    pve402_create_wait_seconds: float = Field(
        50, ge=1, le=1800, description="How long a paid request may wait for its container."
    )
    pve402_request_seconds: float = Field(
        30, ge=1, le=600, description="How long any other request may take."
    )
    pve402_max_requests: Positive = Field(
        2000,
        description="Requests in progress at the same time; further ones must try again later.",
    )
    pve402_max_paid_requests: Positive = Field(
        500, description="The same for requests with a valid payment or token."
    )
    pve402_trusted_proxies: Annotated[values.Names, AfterValidator(values.ip_networks)] = Field(
        (),
        description="Proxies whose X-Forwarded-For header is trusted, separated by commas.",
        examples=["127.0.0.1,10.0.0.0/8"],
    )
    pve402_cors_origins: Annotated[values.Names, AfterValidator(values.origins)] = Field(
        ("*",),
        description="Web origins that may call the API; * for all.",
        examples=["https://shop.example.com"],
    )
