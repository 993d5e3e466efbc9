"""What tenants send."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from pve402.schemas.wire import (
    ConsoleKind,
    ExecEncoding,
    Minutes,
    NewRequest,
    Request,
    Scope,
    ShortText,
    StreamService,
    WakeWord,
    Whole,
    no_bool,
)

EXAMPLE_KEY = (  # SHA-256 of "pve402": nobody has its private key
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGlFid8dnvuV/eiDhKvCjtn4wyBrAXVh5b5mrHumnw96"
)
MAX_METADATA_CHARACTERS = 4096
MAX_COMMAND_CHARACTERS = 120 * 1024
MAX_COMMAND_WORDS = 250
MAX_STDIN_CHARACTERS = 1024 * 1024
MAX_OUTPUT_BYTES = 16 * 1024 * 1024
MAX_ATTACHED_SECONDS = 3600
MAX_DETACHED_SECONDS = 30 * 24 * 3600

#: The sku checks the other bounds; values below one get the sku's error message.
_AT_LEAST_ONE: JsonDict = {"minimum": 1}
OutputBytes = Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES), BeforeValidator(no_bool)]
IdleMinutes = Annotated[int, Field(ge=5, le=1440), BeforeValidator(no_bool)]
CommandWord = Annotated[str, Field(max_length=MAX_COMMAND_CHARACTERS)]
Password = Annotated[str, Field(max_length=1024)]
SshPublicKeys = Annotated[list[Annotated[str, Field(max_length=8192)]], Field(max_length=64)]
Variables = Annotated[
    dict[Annotated[str, Field(max_length=256)], CommandWord], Field(max_length=256)
]
Script = Annotated[str, Field(max_length=256 * 1024)]
ScriptNetwork = Annotated[
    bool | None,
    Field(
        description="False: run `userData` at once; otherwise it waits until the network is ready."
    ),
]


class LeaseRequest(Request):
    """A container to lease."""

    sku: ShortText = Field(examples=["standard-lxc"])
    runtime_minutes: Minutes
    hostname: ShortText | None = Field(
        default=None,
        description="Derived from the sku's name and the lease if not given.",
        examples=["demo-server"],
    )
    cores: Whole = Field(default=1, examples=[1], json_schema_extra=_AT_LEAST_ONE)
    memory_mb: Whole = Field(
        default=512, description="MiB.", examples=[512], json_schema_extra=_AT_LEAST_ONE
    )
    disk_gb: Whole = Field(
        default=8, description="GiB.", examples=[8], json_schema_extra=_AT_LEAST_ONE
    )
    password: Password | None = Field(
        default=None,
        description="Password of root; not needed with a key.",
        examples=["correct horse battery"],
        repr=False,
    )
    ssh_public_keys: SshPublicKeys = Field(
        default_factory=list, description="One line each, in OpenSSH format."
    )
    template: ShortText | None = Field(
        default=None,
        description="One of the sku's templates, or a private image: `private/IMAGEID`.",
    )
    env: Variables | None = Field(
        default=None,
        description="Variables of all commands of the lease: at most 64, of 32 KiB together.",
        examples=[{"STAGE": "test"}],
        repr=False,
    )
    user_data: Script | None = Field(
        default=None,
        description="A script that root runs once in the new container, at most 64 KiB: by sh"
        " unless it begins with `#!`.",
        examples=["apk add python3"],
        repr=False,
    )
    user_data_network: ScriptNetwork = None
    wake_on: list[WakeWord] | None = Field(
        default=None,
        max_length=8,
        description="What wakes the container when it is paused; `port`: a visit with a token or a"
        " login. Public ports never do.",
    )
    idle_pause_minutes: IdleMinutes | None = Field(
        default=None,
        description="Pause the container once it was idle for so long: nothing open in it, and next"
        " to no processor used.",
        examples=[30],
    )
    requester: ShortText | None = Field(
        default=None, description="Stored with the lease; not proof of ownership."
    )
    payload: Any = Field(
        default=None, description="Stored with the lease; at most 4,096 characters of JSON."
    )


class RenewRequest(Request):
    """More minutes for a lease."""

    runtime_minutes: Minutes


class InboundRule(NewRequest):
    """Traffic that is let in to a container."""

    protocol: Literal["tcp", "udp", "ping"]
    ports: list[Annotated[str, Field(max_length=11)]] = Field(
        default_factory=list,
        max_length=8,
        description="Ports or `first-last`; none with `ping`.",
        examples=[["443", "8000-8100"]],
    )
    source: ShortText | None = Field(
        default=None,
        description="Address or network that may send it; everybody if not given.",
        examples=["203.0.113.0/24"],
    )


class InboundRequest(NewRequest):
    """What shall reach a container from outside."""

    rules: list[InboundRule] | None = Field(
        default=None,
        max_length=16,
        description="Null or missing: as the operator's network has it.",
    )


class LeaseQuoteRequest(LeaseRequest):
    """What a new lease would cost."""

    model_config = ConfigDict(extra="forbid")


class RenewalQuoteRequest(NewRequest):
    """What a renewal would cost; `ctid` takes a leaseId, and a ctid only with a token."""

    ctid: ShortText = Field(examples=["10000"])
    runtime_minutes: Minutes


class ConsoleRequest(Request):
    """A console in the browser."""

    console_type: ConsoleKind = Field(
        default="vnc", description="`spice` is treated like `vnc`.", examples=["terminal"]
    )


class ConsoleHello(Request):
    """The first message of a console's websocket, as JSON text."""

    ticket: Annotated[str, Field(max_length=128)] = Field(default="", repr=False)
    columns: Whole = Field(default=80, description="Width of the window, in characters.")
    rows: Whole = Field(default=24, description="Its height.")
    window: Whole | None = Field(
        default=None,
        description="Bytes of output that may be unacknowledged; `ack` confirms what was received.",
    )


class ProgramRequest(Request):
    """A program in a container: `command` through its shell, or `argv` without one."""

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
        description="A program and its arguments, instead of `command`.",
        repr=False,
    )
    env: dict[Annotated[str, Field(max_length=128)], CommandWord] = Field(
        default_factory=dict, max_length=128, repr=False
    )
    cwd: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="Directory to run it in."
    )
    user: Annotated[str, Field(max_length=32)] = Field(
        default="", description="User to run it as; root if empty."
    )


class ExecRequest(ProgramRequest):
    """A command to run in a container: `command` through its shell, or `argv` without one."""

    stdin: str | None = Field(
        default=None,
        max_length=MAX_STDIN_CHARACTERS,
        description="What the command reads, encoded as `encoding` says.",
        repr=False,
    )
    open_stdin: bool = Field(default=False, description="Keep stdin open, to send more later.")
    encoding: ExecEncoding = Field(
        default="utf-8", description="Encoding of stdin and output; utf-8 replaces invalid bytes."
    )
    timeout_seconds: float | None = Field(
        default=None,
        ge=0.1,
        le=MAX_DETACHED_SECONDS,
        description="600 by default, at most 3,600; detached commands have no default limit.",
    )
    max_output_bytes: OutputBytes | None = Field(
        default=None, description="1 MiB by default; unlimited for output that is read as it comes."
    )
    detach: bool = Field(default=False, description="Answer at once; the command keeps running.")


class ExecSocketRequest(ExecRequest):
    """The first message on the websocket of a command."""

    token: str | None = Field(
        default=None, max_length=256, description="A token, instead of a header.", repr=False
    )


class StreamSocketRequest(ProgramRequest):
    """The first message on the websocket of a stream: a program, or `resume`."""

    service: StreamService | None = Field(
        default=None,
        description="In place of a program: the container's sshd, a shell on a terminal of its own"
        " (or `argv` on one, in `cwd`), many connections to the container's loopback, or one to"
        " `port`.",
    )
    columns: int = Field(default=80, ge=1, le=1000, description="Of a shell's terminal.")
    rows: int = Field(default=24, ge=1, le=1000)
    port: int | None = Field(default=None, ge=1, le=65535)
    resume: str | None = Field(
        default=None, max_length=64, description="Id of an open stream to come back to."
    )
    position: int = Field(
        default=0, ge=0, description="How many bytes of its output were received.", strict=True
    )
    token: str | None = Field(
        default=None, max_length=256, description="Instead of a header.", repr=False
    )


class TerminalSize(BaseModel):
    """The size of a window, as Kubernetes' clients tell it."""

    width: int = Field(alias="Width", ge=1, le=1000)
    height: int = Field(alias="Height", ge=1, le=1000)


class KeyRequest(NewRequest):
    """An SSH key that may log in."""

    public_key: Annotated[str, Field(max_length=8192)] = Field(
        description="One line, in OpenSSH format.", examples=[EXAMPLE_KEY]
    )


class SignalRequest(NewRequest):
    """A signal for a command's processes."""

    signal: str = Field(pattern=r"^(SIG)?[A-Z][A-Z0-9+]{1,8}$", examples=["TERM"])


class ChallengeRequest(NewRequest):
    """A wallet's request for a message to sign."""

    address: str = Field(
        pattern=r"^0x[0-9a-fA-F]{40}$", examples=["0x857b06519E91e3A54538791bDbb0E22373e36b66"]
    )
    chain: ShortText | None = Field(
        default=None,
        description="Network name or CAIP-2 id; by default the first accepted network.",
    )


class TokenRequest(NewRequest):
    """A signed challenge in exchange for a token."""

    message: str = Field(max_length=4096)
    signature: str = Field(
        pattern=r"^(0x)?([0-9a-fA-F]{2}){1,4096}$",
        repr=False,
        description="Hexadecimal; the 0x may be missing, as some libraries omit it.",
    )
    lease_id: ShortText | None = Field(
        default=None,
        description="Token of this lease, which revokes its old one; otherwise of the wallet.",
    )
    scope: list[Scope] | None = Field(default=None, min_length=1, max_length=16)
    expires_at: datetime | None = None
