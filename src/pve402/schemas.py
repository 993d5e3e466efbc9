"""What goes over the wire between tenants and the service: camelCase names, checked types.

Servers and clients share these. Requests of the first service's routes ignore fields they do not
know; those of new routes refuse them. A time is RFC 3339 in UTC with `Z`; an amount is a decimal
string of atomic units, so that no reader rounds it.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_METADATA_CHARACTERS = 4096
MAX_COMMAND_CHARACTERS = 120 * 1024
MAX_COMMAND_WORDS = 250
MAX_STDIN_CHARACTERS = 1024 * 1024
MAX_OUTPUT_BYTES = 16 * 1024 * 1024
MAX_ATTACHED_SECONDS = 3600
MAX_DETACHED_SECONDS = 30 * 24 * 3600

_UNITS = re.compile(r"(?<=[a-z])(Mb|Gb)(?=[A-Z]|$)")


def _no_bool(value: Any) -> Any:
    """JSON's true is no number, though Python's is."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004 -- pydantic's way of refusing
    return value


Whole = Annotated[int, BeforeValidator(_no_bool), Field(ge=-(2**53), le=2**53)]
Minutes = Annotated[
    int,
    BeforeValidator(_no_bool),
    Field(ge=1, le=2**53, description="Minutes to rent.", examples=[60]),
]
ShortText = Annotated[str, Field(max_length=255)]
Status = Literal["provisioning", "active", "stopping", "stopped", "ended", "failed"]
ConsoleKind = Literal["vnc", "terminal"]
ExecEncoding = Literal["utf-8", "base64"]
ExecState = Literal["running", "exited", "lost"]
CommandWord = Annotated[str, Field(max_length=MAX_COMMAND_CHARACTERS)]
VmWord = Literal["running", "stopped", "unknown", "missing"]
Scope = Literal["*", "read", "exec", "console", "files", "renew", "end"]


def _wire_name(name: str) -> str:
    """The name on the wire: camelCase, with MB and GB in capitals."""
    return _UNITS.sub(lambda unit: unit[0].upper(), to_camel(name))


class _Wire(BaseModel):
    """Names on the wire are camelCase; in Python they are what they always are."""

    model_config = ConfigDict(
        alias_generator=_wire_name, validate_by_name=True, validate_by_alias=True, frozen=True
    )


class _New(_Wire):
    """A request of a new route: a field it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


# Requests


class LeaseRequest(_Wire):
    """A container to be leased."""

    model_config = ConfigDict(extra="ignore")

    sku: ShortText = Field(examples=["standard-lxc"])
    runtime_minutes: Minutes
    hostname: ShortText = Field(examples=["demo-server"])
    cores: Whole = Field(default=1, examples=[1])
    memory_mb: Whole = Field(default=512, description="MiB.", examples=[512])
    disk_gb: Whole = Field(default=8, description="GiB.", examples=[8])
    password: str | None = Field(
        default=None,
        max_length=1024,
        description="Of root; not needed with a key.",
        examples=["correct horse battery"],
        repr=False,
    )
    ssh_public_keys: list[Annotated[str, Field(max_length=8192)]] = Field(
        default_factory=list, max_length=64, description="One line each, as OpenSSH writes them."
    )
    template: ShortText | None = Field(default=None, description="One of the sku's templates.")
    requester: ShortText | None = Field(
        default=None, description="Kept with the lease; proves nothing."
    )
    payload: Any = Field(
        default=None, description="Kept with the lease; 4,096 characters of JSON at most."
    )


class RenewRequest(_Wire):
    """More minutes for a lease."""

    model_config = ConfigDict(extra="ignore")

    runtime_minutes: Minutes


class LeaseQuoteRequest(LeaseRequest):
    """What a new lease would cost."""

    model_config = ConfigDict(extra="forbid")


class RenewalQuoteRequest(_New):
    """What a renewal would cost; `ctid` takes a leaseId too."""

    ctid: ShortText = Field(examples=["10000"])
    runtime_minutes: Minutes


class ConsoleRequest(_Wire):
    """A console in the browser."""

    model_config = ConfigDict(extra="ignore")

    console_type: ConsoleKind = Field(default="vnc", examples=["terminal"])


class ConsoleHello(_Wire):
    """The first message of a console's websocket, as JSON text."""

    model_config = ConfigDict(extra="ignore")

    ticket: Annotated[str, Field(max_length=128)] = Field(default="", repr=False)
    columns: Whole = Field(default=80, description="Width of the window, in characters.")
    rows: Whole = Field(default=24, description="Its height.")
    window: Whole | None = Field(
        default=None,
        description="Bytes of output that may be under way; then `ack` says what was taken.",
    )


class ExecRequest(_Wire):
    """A command to run in a container: `command` for its shell, or `argv` without one."""

    model_config = ConfigDict(extra="ignore")

    command: str | None = Field(
        default=None,
        max_length=MAX_COMMAND_CHARACTERS,
        description="Run by sh, with `extraArgs` as its arguments.",
        examples=["uptime"],
        repr=False,
    )
    extra_args: list[CommandWord] = Field(
        default_factory=list, max_length=MAX_COMMAND_WORDS, examples=[["-p"]], repr=False
    )
    argv: list[CommandWord] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_COMMAND_WORDS,
        description="A program and its arguments, in place of `command`.",
        repr=False,
    )
    env: dict[Annotated[str, Field(max_length=128)], CommandWord] = Field(
        default_factory=dict, max_length=128, repr=False
    )
    cwd: Annotated[str, Field(max_length=4096)] = Field(default="", description="Where it runs.")
    user: Annotated[str, Field(max_length=32)] = Field(default="", description="root if empty.")
    stdin: str | None = Field(
        default=None, max_length=MAX_STDIN_CHARACTERS, description="As `encoding` says.", repr=False
    )
    open_stdin: bool = Field(default=False, description="Keep stdin open for more.")
    encoding: ExecEncoding = Field(
        default="utf-8", description="Of stdin and of output; utf-8 replaces what is no text."
    )
    timeout_seconds: float | None = Field(
        default=None,
        ge=0.1,
        le=MAX_DETACHED_SECONDS,
        description="600 if not given and 3,600 at most; detached, none unless given.",
    )
    max_output_bytes: Whole | None = Field(
        default=None, ge=0, le=MAX_OUTPUT_BYTES, description="1 MiB if not given; for a stream 16."
    )
    detach: bool = Field(default=False, description="Answer at once; it runs on by itself.")


class ExecSocketRequest(ExecRequest):
    """The first message on the websocket of a command."""

    token: str | None = Field(
        default=None, max_length=256, description="In place of a header.", repr=False
    )


class SignalRequest(_New):
    """A signal for a command's processes."""

    signal: str = Field(pattern=r"^(SIG)?[A-Z][A-Z0-9+]{1,8}$", examples=["TERM"])


class ChallengeRequest(_New):
    """A wallet asks for a message to sign."""

    address: str = Field(
        pattern=r"^0x[0-9a-fA-F]{40}$", examples=["0x857b06519E91e3A54538791bDbb0E22373e36b66"]
    )
    chain: ShortText | None = Field(
        default=None, description="Network name or CAIP-2 id; the first accepted one if not given."
    )


class TokenRequest(_New):
    """A signed challenge in return for a token."""

    message: str = Field(max_length=4096)
    signature: str = Field(pattern=r"^0x([0-9a-fA-F]{2}){1,4096}$", repr=False)
    lease_id: ShortText | None = Field(
        default=None,
        description="Token of one lease, which revokes its old one; else one of the wallet.",
    )
    scope: list[Scope] | None = Field(default=None, min_length=1, max_length=8)
    expires_at: datetime | None = None


# Answers


class LeaseAnswer(_Wire):
    """A lease that was just bought or renewed."""

    lease_id: str
    status: Status
    ctid: str | None = Field(description="vmid on Proxmox VE; none before it is paid.")
    expires_at: datetime | None
    message: str
    owner_wallet: str = Field(description="Address that paid, with its checksum (EIP-55).")
    access_token: str | None = Field(
        description="Bearer token of the lease; in the first answer only.", repr=False
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


class VmStatus(_Wire):
    """The guest now, in the words of Proxmox VE; bytes, seconds, and a share of 1 for cpu."""

    status: VmWord
    uptime: int | None = None
    cpu: float | None = None
    cpus: int | None = None
    mem: int | None = None
    maxmem: int | None = None
    disk: int | None = None
    maxdisk: int | None = None


class LeaseItem(_Wire):
    """A lease with the live status of its guest."""

    lease_id: str
    ctid: str | None
    status: Status
    expires_at: datetime | None
    network: str
    created_at: datetime
    vm_status: VmStatus
    sku: str
    hostname: str
    cores: int
    memory_mb: int
    disk_gb: int
    owner_wallet: str
    deletes_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None


class CpuFigures(_Wire):
    """`usage` is a share of 1, `pct` the same of 100."""

    usage: float | None
    cores: int | None
    pct: float | None


class SpaceFigures(_Wire):
    """Bytes, and the used share of 100."""

    total: int | None
    used: int | None
    free: int | None
    pct: float | None


class NodeStats(_Wire):
    """A node; figures that the operator does not show are null."""

    node: str
    cpu: CpuFigures | None
    memory: SpaceFigures | None
    disk: SpaceFigures | None


class AllNodeStats(NodeStats):
    """The first node, and all of them."""

    nodes: list[NodeStats]


class GuestStats(_Wire):
    """Figures of one lease's guest; `error` says why there are none."""

    lease_id: str
    ctid: str | None
    sku: str
    status: Status
    cpu: CpuFigures | None
    memory: SpaceFigures | None
    disk: SpaceFigures | None
    error: str | None


class Offer(_Wire):
    """One way to pay a price."""

    network: str = Field(examples=["base-sepolia"])
    network_id: str = Field(examples=["eip155:84532"])
    asset: str
    symbol: str
    decimals: int
    amount: str = Field(description="Atomic units.", examples=["2640"])
    pay_to: str


class Quote(_Wire):
    """The exact price of one request."""

    sku: str
    runtime_minutes: int
    cores: int
    memory_mb: int
    disk_gb: int
    price_usd: str = Field(description="Exact, before rounding up to atomic units.")
    accepts: list[Offer]
    available: bool | None = Field(description="Whether there is room now; null if not known.")


class Bounds(_Wire):
    """Least and most, both included."""

    min: int
    max: int


class SkuItem(_Wire):
    """One shape on sale; rates are decimal strings in USD."""

    sku: str
    description: str
    base_usd: str
    core_minute_usd: str
    memory_gb_minute_usd: str
    disk_gb_minute_usd: str
    cores: Bounds
    memory_mb: Bounds
    disk_gb: Bounds
    runtime_minutes: Bounds
    templates: list[str]


class CatalogueAnswer(_Wire):
    """All that is on sale."""

    skus: list[SkuItem]
    management_fee_usd: str
    networks: list[Offer] = Field(description="Ways to pay, with the amount of the management fee.")


class ChallengeAnswer(_Wire):
    """A message for the wallet to sign (EIP-4361)."""

    message: str
    nonce: str
    expires_at: datetime


class TokenAnswer(_Wire):
    """A token that stands for the wallet, or for one lease."""

    access_token: str = Field(repr=False)
    expires_at: datetime | None
    lease_id: str | None
    owner: str = Field(description="CAIP-10 account.")
    scope: list[str]


class ExecAnswer(_Wire):
    """A command: how it ended, or how far it is."""

    ctid: str
    upid: str = Field(description="The same as execId.")
    exec_id: str
    output: str = Field(description="Both streams, in the order they came.")
    stdout: str
    stderr: str
    encoding: ExecEncoding = Field(description="Of output, stdout and stderr.")
    exit_code: int | None = Field(description="Null while it runs.")
    timed_out: bool
    truncated: bool = Field(description="Whether output beyond the limit was dropped.")
    duration_ms: int | None
    detached: bool
    state: ExecState


class ExecItem(_Wire):
    """One command of a container, running or ended a while ago."""

    exec_id: str
    state: ExecState
    detached: bool
    exit_code: int | None
    timed_out: bool
    truncated: bool
    stdout_bytes: int
    stderr_bytes: int
    started_at: datetime


class FileAnswer(_Wire):
    """A file in a container."""

    ctid: str
    path: str
    size_bytes: int
    mode: str | None = Field(description="Octal.", examples=["0644"])
    sha256: str | None = Field(description="Of its bytes, in hexadecimal.")


class FieldProblem(_Wire):
    """One field of a request that cannot be taken."""

    field: str
    message: str


class ConsoleAnswer(_Wire):
    """How to open a console: in a browser by its link, once, or as a program by websocket."""

    ctid: str
    host: str
    port: int
    ticket: str = Field(description="Good once, for 30 seconds.", repr=False)
    user: str
    cert: str = Field(description="Empty; no certificate is needed but that of the address.")
    websocket: str = Field(description="The same as `websocketUrl`.", repr=False)
    proxy: str = Field(description="Address of the service that serves the console.")
    console_url: str = Field(description="Open it in a browser, at once.", repr=False)
    websocket_url: str = Field(description="For programs; see the guide on consoles.", repr=False)
    expires_at: datetime = Field(description="Until when the ticket is good.")


class Problem(_Wire):
    """Every refusal: a sentence that may change and a code that does not."""

    detail: str
    code: str
    errors: list[FieldProblem] | None = None
    exec_id: str | None = Field(default=None, description="The execution that this is about.")


class Health(_Wire):
    """Whether we live, and can serve."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, bool] = Field(default_factory=dict)
