"""What the service answers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from pve402.schemas.offers import CatalogueState, ProfileName
from pve402.schemas.ssh import Ssh
from pve402.schemas.wire import (
    AddressSource,
    ExecEncoding,
    ExecState,
    Family,
    LinkWord,
    PowerWord,
    Status,
    UserDataState,
    VmWord,
    WakeWord,
    Wire,
)


class Address(Wire):
    """An address of a container's network card."""

    family: Family
    address: str = Field(examples=["203.0.113.10"])
    source: AddressSource = Field(
        description="`assigned`: by the service, for the whole lease. `seen`: by the container's"
        " own account, which its root can make up."
    )


Addresses = Annotated[
    list[Address],
    Field(description="Those that the service assigned, and those seen in the container."),
]
NetworkStatus = Annotated[
    LinkWord, Field(description="While `pending`, no packet leaves or reaches the container.")
]


class LeaseAnswer(Wire):
    """A lease that was just bought or renewed."""

    lease_id: str = Field(examples=["l8w0o5w0v1q9n7x3k2j4h6g5f4"])
    status: Status
    ctid: str | None = Field(
        description="vmid on Proxmox VE; null until the lease is paid.", examples=["10000"]
    )
    expires_at: datetime | None
    message: str
    owner_wallet: str = Field(description="Address that paid, in EIP-55 checksum form.")
    access_token: str | None = Field(
        description="Bearer token of the lease; only in the first answer.", repr=False
    )
    sku: str
    hostname: str
    cores: int
    memory_mb: int
    disk_gb: int
    created_at: datetime
    deletes_at: datetime | None
    network: str
    amount: str = Field(description="Price in atomic units.", examples=["2640"])
    transaction: str | None = Field(description="Hash of the transfer.")
    addresses: Addresses = Field(default_factory=list)
    network_profile: ProfileName = "default"
    network_status: NetworkStatus = "ready"
    ssh: Ssh = None


class OwedItem(Wire):
    """Money that a wallet paid and got nothing for."""

    owed_id: str | None = Field(description="To redeem it; null while delivery is still tried.")
    status: Literal["delivering", "redeemable", "redeeming", "paying_back"]
    reason: Literal["undelivered", "paid_after_refusal", "lease_over"]
    network: str
    payer: str = Field(description="Address that paid, in EIP-55 checksum form.")
    amount: str = Field(description="What is owed now, in atomic units.", examples=["2640"])
    usd: str = Field(description="The same in USD.", examples=["0.00264"])
    transaction: str | None = Field(description="Hash of the transfer that was paid.")
    since: datetime
    redeemable_at: datetime | None = Field(
        description="Until when delivery is tried; null once it can be redeemed."
    )


class VmStatus(Wire):
    """The guest's status in Proxmox VE's terms: bytes, seconds, and cpu as a fraction of 1."""

    status: VmWord
    uptime: int | None = None
    cpu: float | None = None
    cpus: int | None = None
    mem: int | None = None
    maxmem: int | None = None
    disk: int | None = None
    maxdisk: int | None = None


class SuspensionItem(Wire):
    """Why the operator suspended a lease, since when, and whether its paid time runs on."""

    reason: str
    since: datetime
    time_runs_on: bool = Field(
        description="If false, resuming moves expiresAt by the time of the suspension."
    )


class PauseItem(Wire):
    """Since when a lease burns less, and how much."""

    since: datetime
    until: datetime = Field(description="Then it burns the full rate, though it stays paused.")
    minute_usd: str = Field(description="What it burns until then.", examples=["0.00002"])
    because: Literal["idle"] | None = Field(
        None, description="`idle`: it was idle for `idlePauseMinutes`; null: somebody asked for it."
    )


class BurnItem(Wire):
    """What a lease burns a minute while it is not paused, in USD, and of what that consists."""

    minute_usd: str
    size_usd: str
    addresses_usd: str
    snapshots_usd: str


class LeaseItem(Wire):
    """A lease with the live status of its guest."""

    lease_id: str
    ctid: str = Field(description="vmid on Proxmox VE; empty until the lease is paid.")
    status: Status
    expires_at: datetime | None
    network: str
    created_at: datetime
    vm_status: VmStatus
    wanted: PowerWord = Field(
        "running", description="What the guest should do while the lease lasts."
    )
    addresses: Addresses = Field(default_factory=list)
    network_profile: ProfileName = "default"
    network_status: NetworkStatus = "ready"
    sku: str
    hostname: str
    cores: int
    memory_mb: int
    disk_gb: int
    owner_wallet: str
    deletes_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    suspended: SuspensionItem | None = Field(
        None, description="Set while the operator has suspended the lease."
    )
    paused: PauseItem | None = Field(
        None, description="Set while the lease is paused and its container down."
    )
    burn: BurnItem | None = Field(None, description="Null before it is paid.")


class UserDataItem(Wire):
    """What became of the script that came with a lease."""

    state: UserDataState = Field(
        description="`failed`: it cannot be run, and was not. `unknown`: it was begun, and its end"
        " was not seen; it is not run again."
    )
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    reason: str | None = Field(
        description="One word, if it did not exit or its output cannot be read.",
        examples=["no_room"],
    )
    exec_id: str | None = Field(description="The command that it is while it runs.")


class UserDataAnswer(UserDataItem):
    """The same with the end of its output."""

    lease_id: str
    ctid: str
    output: str = Field(description="Both streams; the last 32 KiB, once it has ended.")
    truncated: bool = Field(description="Whether there was more.")


class LeaseDetails(LeaseItem):
    """A lease with the request that bought it, without secrets."""

    template: str | None = Field(description="As requested; null means the sku's default.")
    ssh_public_keys: list[str]
    requester: str | None
    payload: Any
    env: list[str] = Field(
        default_factory=list, description="Names of the variables of all its commands."
    )
    wake_on: list[WakeWord] = Field(
        default_factory=list, description="What wakes it when it is paused."
    )
    idle_pause_minutes: int | None = Field(
        default=None, description="After how many idle minutes it is paused; null: never."
    )
    user_data: UserDataItem | None = Field(
        default=None, description="The script that came with it, if one did."
    )
    ssh: Ssh = None


class CpuFigures(Wire):
    """`usage` is a fraction of 1, `pct` the same in percent."""

    usage: float | None
    cores: int | None
    pct: float | None


class SpaceFigures(Wire):
    """Bytes, and the percentage in use."""

    total: int | None
    used: int | None
    free: int | None
    pct: float | None


class NodeStats(Wire):
    """A node; figures that the operator hides are null."""

    node: str
    cpu: CpuFigures
    memory: SpaceFigures
    disk: SpaceFigures


class AllNodeStats(NodeStats):
    """The first node, and all of them."""

    nodes: list[NodeStats]


class GuestStats(Wire):
    """Figures of one lease's guest; `error` says why they are missing."""

    lease_id: str
    ctid: str
    sku: str
    status: VmWord = Field(description="State of the guest, in Proxmox VE's terms.")
    lease_status: Status
    cpu: CpuFigures | None
    memory: SpaceFigures | None
    disk: SpaceFigures | None
    error: str | None


class ChallengeAnswer(Wire):
    """A message for the wallet to sign (EIP-4361)."""

    message: str
    nonce: str
    expires_at: datetime


class TokenAnswer(Wire):
    """A token that stands for the wallet, or for one lease."""

    access_token: str = Field(repr=False)
    expires_at: datetime | None
    lease_id: str | None
    owner: str = Field(description="CAIP-10 account.")
    scope: list[str]


class ExecAnswer(Wire):
    """A command: how it ended, or its progress."""

    ctid: str
    upid: str = Field(description="The same as execId.")
    exec_id: str
    output: str = Field(description="Both streams, in the order they arrived.")
    stdout: str
    stderr: str
    encoding: ExecEncoding = Field(description="Encoding of output, stdout and stderr.")
    exit_code: int | None = Field(description="Null while the command runs.", examples=[0])
    timed_out: bool
    truncated: bool = Field(description="Whether output beyond the limit was dropped.")
    duration_ms: int | None
    detached: bool
    state: ExecState


class ExecItem(Wire):
    """One command of a container, running or recently ended."""

    exec_id: str
    state: ExecState
    detached: bool
    exit_code: int | None
    timed_out: bool
    truncated: bool
    stdout_bytes: int
    stderr_bytes: int
    started_at: datetime


class FieldProblem(Wire):
    """One invalid field of a request."""

    field: str
    message: str


class ConsoleAnswer(Wire):
    """How to open a console: once, in a browser by its link or from a program by websocket."""

    ctid: str
    host: str
    port: int
    ticket: str = Field(description="Valid once, until `expiresAt`.", repr=False)
    user: str
    cert: str = Field(description="Always empty; the address's own certificate is enough.")
    websocket: None = Field(description="Always null; the address is `websocketUrl`.")
    proxy: str = Field(description="Address of the service that serves the console.")
    console_url: str = Field(description="Open it in a browser, before `expiresAt`.", repr=False)
    websocket_url: str = Field(description="For programs; see the guide to consoles.", repr=False)
    expires_at: datetime = Field(description="When the ticket expires.")


class Problem(Wire):
    """Every refusal: a stable code and a message that may change."""

    detail: str
    code: str
    errors: list[FieldProblem] | None = None
    exec_id: str | None = Field(default=None, description="Id of the execution that this is about.")


class Health(Wire):
    """Whether the service is alive and ready."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, bool] = Field(default_factory=dict)
    isolation: dict[str, Literal["none", "tenant", "unavailable"]] = Field(
        default_factory=dict, description="What keeps new containers apart, by network profile."
    )
    catalogue: CatalogueState | None = None
