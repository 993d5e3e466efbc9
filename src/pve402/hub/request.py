"""What a caller asks for, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from pve402.hub import errors

#: Default output kept per execution, stdout and stderr together.
DEFAULT_OUTPUT_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ExecRequest:
    """A program to run in a guest: `command` for the shell, or `argv` without one.

    extra_args: arguments of a command string, as `"$@"`.
    stdin: what the program reads; `open_stdin` keeps it open for more.
    timeout_seconds: after this the process group gets TERM, and KILL some seconds later.
    output_limit_bytes: how much of stdout and stderr together is kept; the rest is dropped.
    flows: what a follower has read is forgotten, and the program waits for it; no output is cut.
    has_terminal: it makes itself a terminal, whose name it leaves to the agent.
    end_signal: sent to the program of a stream whose client has left; without one it is let go.
    idle_seconds: how long a stream may stay open without a byte; without limit if not given.
    detach: keep running in the guest, with output spooled there, even across our own restart.
    is_ours: it runs one of the hub's own scripts; no caller from outside can set this.
    has_variables: it gets the lease's variables; not so what the hub itself runs in the guest.

    Raises RequestRefused.
    """

    command: str | None = field(default=None, repr=False)
    argv: tuple[str, ...] | None = field(default=None, repr=False)
    extra_args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    cwd: str = ""
    user: str = ""
    stdin: bytes | None = field(default=None, repr=False)
    open_stdin: bool = False
    timeout_seconds: float | None = None
    output_limit_bytes: int = DEFAULT_OUTPUT_BYTES
    flows: bool = False
    has_terminal: bool = False
    end_signal: str = ""
    idle_seconds: float | None = None
    detach: bool = False
    is_ours: bool = False
    has_variables: bool = True

    def __post_init__(self) -> None:
        if (self.command is None) == (self.argv is None):
            raise errors.RequestRefused("give either command or argv")
        if self.argv is not None and (not self.argv or self.extra_args):
            raise errors.RequestRefused("argv must not be empty, and cannot have extra arguments")
        if self.timeout_seconds is not None and self.timeout_seconds <= 0:
            raise errors.RequestRefused("the time limit must be above zero")
        if self.output_limit_bytes < 0:
            raise errors.RequestRefused("the output limit must not be negative")


@dataclass(frozen=True, kw_only=True)
class ExecResult:
    """How an execution ended. A time-out is a result, not an error."""

    exec_id: str
    exit_code: int
    #: The kept output, in order of arrival.
    pieces: tuple["ExecEvent", ...] = field(repr=False)
    timed_out: bool
    truncated: bool
    #: Output that a follower has read is missing in `pieces`.
    has_forgotten: bool = False
    duration_ms: int
    #: The budget share that accounts for the pieces; held for as long as they are.
    held: object = field(default=None, repr=False, compare=False)

    @property
    def stdout(self) -> bytes:
        """What it wrote to stdout; joined on every call, because a cached copy could be large."""
        return b"".join(piece.data for piece in self.pieces if piece.kind is EventKind.STDOUT)

    @property
    def stderr(self) -> bytes:
        """What it wrote to stderr."""
        return b"".join(piece.data for piece in self.pieces if piece.kind is EventKind.STDERR)

    @property
    def output(self) -> bytes:
        """Both streams, in order of arrival."""
        return b"".join(piece.data for piece in self.pieces)


class EventKind(Enum):
    """The kind of an execution's event."""

    START = "start"  # the program was handed to the guest
    STDOUT = "stdout"  # a piece of stdout
    STDERR = "stderr"  # a piece of stderr
    EXIT = "exit"  # it ended
    ERROR = "error"  # we lost it


@dataclass(frozen=True, kw_only=True)
class ExecEvent:
    """One thing that happened to an execution. Ids count from 1 without gaps."""

    id: int
    kind: EventKind
    data: bytes = field(default=b"", repr=False)
    result: ExecResult | None = field(default=None, repr=False)
    error: errors.HubError | None = None
