"""The text we type into a guest: the boot line, then the agent of `guest/agent.sh`."""

import functools
from collections.abc import Iterator, Sequence
from importlib import resources

from pve402.hub import quoting
from pve402.proxmox import termproxy

#: Bytes that a line has room for in addition to the call itself; see `link.LONGEST_LINE`.
_LONGEST_WORDS = 1750

#: Any session's agent quits when it reads this line. A shell ignores it.
QUIT_LINE = b": pve402-quit"

# busybox ash edits about 1,000 bytes at its prompt; the line stays far below.
# No newline is typed, and no character that a C shell or history expansion would replace.
_BOOT = (
    " unset HISTFILE;exec sh -c 'stty raw -echo icrnl -tostop;"
    'printf "\\033_%s b\\033\\\\" @;N=$(printf "\\n.");N=${N%.};P=;'
    "while IFS= read -r l;do case $l in "
    '@.k)printf "\\033_%s k\\033\\\\" @;;'
    '@.e)eval "$P";exit;;'
    "@.*)P=$P${l#*.}$N;;"
    "*pve402-quit*)stty sane;exit;;"
    "esac;done'"
)


def boot_line(mark: str) -> bytes:
    """The line that turns a shell into a loader, which then writes `started`."""
    return _BOOT.replace("@", mark).encode()


def started(mark: str) -> bytes:
    """What the loader writes when it runs. Differs from its own echo in the escape bytes."""
    return f"\x1b_{mark} b\x1b\\".encode()


def loaded(mark: str) -> bytes:
    """What the loader writes when it has read everything before `checkpoint`."""
    return f"\x1b_{mark} k\x1b\\".encode()


def load_packets(mark: str, nonce: str, largest_bytes: int) -> list[bytes]:
    """The agent as loader input, cut into pieces small enough to send unacknowledged."""
    checkpoint = f"{mark}.k\r".encode()
    lines = [f"{mark}.{line}\r".encode() for line in (f"K={nonce}", *_source_lines())]
    packets = [bytearray()]
    for line in lines:
        if len(packets[-1]) + len(line) + len(checkpoint) > largest_bytes:
            packets[-1] += checkpoint
            packets.append(bytearray())
        packets[-1] += line
    packets[-1] += f"{mark}.e\r".encode()
    return [bytes(packet) for packet in packets]


def call_lines(call: str, slot: int, words: Sequence[bytes]) -> Iterator[bytes]:
    """The lines that start a program: its words follow the call, or are written to a file first."""
    short = quoting.inline(words, _LONGEST_WORDS)
    if short is not None:
        yield call.encode() + b" " + short
        return
    yield b': >"$D/%d.a"' % slot
    for piece in quoting.formats(quoting.positional(words)):
        yield b"d %d '%b'" % (slot, piece)
    yield call.encode()


def resize(name: str, columns: int, rows: int) -> bytes:
    """The line that sets the size of the terminal that a program has made for itself."""
    columns, rows = termproxy.clamp_size(columns, rows)
    return f"w {name} {rows} {columns}".encode()


def drop(name: str) -> bytes:
    """The line that has the agent drop the rest of a program's output."""
    return f"t {name}".encode()


def grant(name: str, stream: str, limit: int) -> bytes:
    """The line that lets a program's stream, `o` or `e`, send up to `limit` bytes in all."""
    return f"c {name} {stream} {limit}".encode()


@functools.cache
def _source_lines() -> tuple[str, ...]:
    """The agent without comments, indentation and empty lines, so that booting stays fast."""
    source = resources.files("pve402.hub").joinpath("guest/agent.sh").read_text("utf-8")
    lines = (line.strip() for line in source.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
