"""What the service answers about what it sells: prices, skus, networks, limits."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from pve402.schemas.wire import AddressWord, EgressWord, Isolation, Wire

ProfileName = Annotated[str, Field(description="How the container is connected.")]
PendingSeconds = Annotated[
    int, Field(description="Up to how long the network of a new container stays `pending`.")
]
AheadSeconds = Annotated[
    int, Field(description="About how much longer a creation takes, until its address is known.")
]


class Offer(Wire):
    """One way to pay a price."""

    network: str = Field(examples=["base-sepolia"])
    network_id: str = Field(examples=["eip155:84532"])
    asset: str
    symbol: str
    decimals: int
    amount: str = Field(description="Atomic units.", examples=["2640"])
    pay_to: str


class Network(Offer):
    """One way to pay, with its management fee."""

    amount: str = Field(description="The same as `managementFee`.", examples=["1000"])
    management_fee: str = Field(description="Atomic units.", examples=["1000"])
    title: str = Field(default="", description="For people.", examples=["Base Sepolia"])
    currency: str = Field(default="ETH", description="What the chain's own fees are paid in.")
    explorer_url: str | None = Field(
        default=None,
        description="Shows a transaction under `/tx/HASH`.",
        examples=["https://sepolia.basescan.org"],
    )
    rpc_url: str | None = Field(
        default=None,
        description="A public endpoint, for wallets that do not know the chain.",
        examples=["https://sepolia.base.org"],
    )


class Quote(Wire):
    """The exact price of one request."""

    sku: str
    runtime_minutes: int
    cores: int
    memory_mb: int
    disk_gb: int
    price_usd: str = Field(description="Exact, before rounding up to atomic units.")
    address_count: int = Field(
        default=0, description="Addresses of its own, which the price counts if they have a rate."
    )
    snapshots_minute_usd: str = Field(
        default="0", description="What a minute of a renewal costs for kept snapshots."
    )
    accepts: list[Offer]
    available: bool | None = Field(description="Whether there is room now; null if unknown.")
    network_pending_seconds: PendingSeconds = 0
    network_ahead_seconds: AheadSeconds = 0


class Bounds(Wire):
    """Minimum and maximum, both included."""

    min: int
    max: int


class SizePrice(Wire):
    """What a size costs while it is leased, with its addresses, as decimal strings in USD.

    A creation adds baseUsd.
    """

    cores: int
    memory_mb: int
    disk_gb: int
    minute_usd: str
    hour_usd: str
    thirty_days_usd: str


class SkuItem(Wire):
    """One shape on sale; rates are decimal strings in USD."""

    sku: str
    description: str
    base_usd: str
    core_minute_usd: str
    memory_gb_minute_usd: str
    disk_gb_minute_usd: str
    paused_usd_minute: str | None = Field(
        None, description="Of a paused container of any size; null: it cannot be paused."
    )
    address_usd_minute: str | None = Field(
        None, description="Of each address of its own (`addressCount`); null: none is charged for."
    )
    snapshot_gb_usd_minute: str | None = Field(
        None, description="Of each GiB of disk of each kept snapshot; null: they burn nothing."
    )
    image_gb_usd_minute: str | None = Field(
        None, description="Of a private image; null: its containers cannot be saved."
    )
    cores: Bounds
    memory_mb: Bounds
    disk_gb: Bounds
    runtime_minutes: Bounds
    templates: list[str] = Field(
        description="What `template` may be now, the usual one first: names of images, and others."
    )
    network_profile: ProfileName = "default"
    address_count: int = Field(
        0, description="How many addresses its network gives to each container alone."
    )
    prices: list[SizePrice] = Field(
        default_factory=list, description="Of the smallest and of the largest size."
    )


class Image(Wire):
    """What new containers can be made from, by a name for `template`."""

    name: str
    os: str = Field(description="In the operator's words.", examples=["Debian 12"])
    description: str = Field(description="In the operator's words.")
    size_bytes: int | None = Field(description="Of the packed image; null: not known now.")
    updated_at: datetime | None = Field(description="The date of its file; null: not known now.")
    tag: str | None = Field(
        default=None, description="Of an OCI image; null: another kind.", examples=["3.13-slim"]
    )


class NetworkProfile(Wire):
    """How the containers of some skus are connected."""

    name: str
    isolation: Isolation = Field(
        description="`tenant`: kept from neighbours, private networks and the operator's machines."
    )
    ipv4: AddressWord = Field(description="`assigned`: an address of its own, by the service.")
    ipv6: AddressWord
    egress: EgressWord = Field(description="`listed`: to what the operator chose alone.")
    inbound: Literal["open", "closed", "chosen"] = Field(
        description="`chosen`: closed but for what a tenant lets in; `open` can be narrowed."
    )
    pending_seconds: PendingSeconds = 0
    ahead_seconds: AheadSeconds = 0


class QuotaAnswer(Wire):
    """The most that one party may lease at a time; null: no limit."""

    leases: int | None
    cores: int | None
    memory_mb: int | None
    disk_gb: int | None
    addresses: int | None


class Limits(Wire):
    """What the operator allows."""

    wallet: QuotaAnswer
    address: QuotaAnswer = Field(description="Of clients at one address (IPv6: one /64).")
    new_wallets: QuotaAnswer = Field(description="Of all new wallets together.")
    paid_ahead_days: float
    address_requests_a_minute: int | None = None
    wallet_requests_a_minute: int | None = None
    new_wallet_requests_a_minute: int | None = Field(
        default=None, description="Of all new wallets together."
    )


class CatalogueAnswer(Wire):
    """Everything on sale."""

    skus: list[SkuItem]
    management_fee_usd: str
    networks: list[Network] = Field(description="Ways to pay.")
    network_profiles: list[NetworkProfile] = Field(default_factory=list)
    images: list[Image] = Field(
        default_factory=list, description="Of any sku; a sku's `templates` name those it has."
    )
    limits: Limits | None = None
    version: int = Field(
        default=0, description="Counts changes; a price you were asked for holds after one."
    )


class CatalogueState(Wire):
    """Which catalogue is on sale."""

    version: int = Field(description="Counted from 1; the same on all replicas within seconds.")
    problem: str | None = Field(
        description="Why the file of this replica is not what is on sale; null if it is."
    )
