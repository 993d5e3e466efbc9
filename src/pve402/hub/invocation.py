"""Turns a request into the arguments of `sh -c` that the agent runs, and checks it first."""

import re
from dataclasses import dataclass, field, replace

from pve402.hub import errors, extra_arguments
from pve402.hub.request import ExecRequest

#: Of one of the caller's words. The kernel takes 128 KiB in one argument (MAX_ARG_STRLEN), which
#: leaves room for what we put around a command.
LARGEST_ARGUMENT_BYTES = 120 * 1024
LARGEST_ARGUMENTS_BYTES = 256 * 1024
LARGEST_ARGUMENTS = 250
LARGEST_VARIABLES = 256

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
# Reports its process group, then closes the descriptor used for that.
_ANNOUNCE = "echo $$ >&8;exec 8>&-;"
_CHANGE_DIRECTORY = 'cd -- "$1"||exit 126;shift;'
# setpriv keeps the process group and session. `su` is for guests whose setpriv lacks features; it
# opens a new session, so the inner script reports its group too.
# The names are those that `domain.variables` keeps: others could be variables of the tenant's.
_AS_USER = (
    "_c=$1;_u=$2;shift 2;"
    '_g=$(id -g -- "$_u")||exit 126;'
    'while IFS=: read -r _n _ _ _ _ _h _s;do [ "$_n" != "$_u" ]||break;done </etc/passwd;'
    "HOME=${_h:-/} USER=$_u LOGNAME=$_u SHELL=${_s:-/bin/sh};export HOME USER LOGNAME SHELL;"
    '_p="setpriv --reuid $_u --regid $_g --init-groups";'
    'if $_p true 2>/dev/null;then echo $$ >&8;exec $_p sh -c "$_c" sh "$@";fi;'
    'echo $$ >&8;exec su -s /bin/sh -c "$_c" -- "$_u" sh "$@"'
)


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """Arguments of `sh -c`: the script, `$0`, and `$1` onwards."""

    argv: tuple[bytes, ...] = field(repr=False)
    reads_at: int = 0  # where the script may read the variables of a lease

    def reading(self, variables: str) -> "Invocation":
        """Return it with the lease's variables read from a file; unchanged without a name."""
        if not variables:
            return self
        script, *rest = self.argv
        before, after = script[: self.reads_at], script[self.reads_at :]
        script = b"".join((before, b". ", variables.encode(), b";", after))
        return replace(self, argv=(script, *rest))


def build(request: ExecRequest) -> Invocation:
    """Write the shell invocation of a request.

    A command string runs as `sh -c 'COMMAND "$@"' sh EXTRA...`. `env` sets the variables after
    our own shell has run, because a shell accepts fewer names and sets some itself. They win over
    those of the lease, whose file only root can read.

    Raises RequestRefused.
    """
    settings = [_setting(name, value) for name, value in request.env.items()]
    body, arguments = _program(request)
    _check(request, settings)
    if settings:
        program = ("/bin/sh", "-c", body, "sh", *arguments)
        if request.argv is not None and "=" not in request.argv[0]:
            program = request.argv
        body, arguments = 'exec env -- "$@"', (*settings, *program)
    if request.cwd:
        body, arguments = _CHANGE_DIRECTORY + body, (request.cwd, *arguments)
    script, words = _encode(_ANNOUNCE + body), [_encode(argument) for argument in arguments]
    if request.user in {"", "root"}:
        return Invocation(argv=(script, b"sh", *words), reads_at=len(_ANNOUNCE))
    return Invocation(argv=(*_as_user(request.user), script, request.user.encode(), *words))


def _program(request: ExecRequest) -> tuple[str, tuple[str, ...]]:
    """The shell text that runs the program, and its positional parameters."""
    if request.argv is not None:
        return 'exec "$@"', request.argv
    command = request.command or ""
    return extra_arguments.add(command) if request.extra_args else command, request.extra_args


def _as_user(user: str) -> tuple[bytes, bytes]:
    """The shell text that runs another script as a user, and `$0`."""
    if not _USER.fullmatch(user):
        raise errors.RequestRefused("the user name is not valid")
    return _AS_USER.encode(), b"sh"


def _setting(name: str, value: str) -> str:
    if not name or "=" in name:
        raise errors.RequestRefused("an environment variable has an empty name, or one with `=`")
    return f"{name}={value}"


def _encode(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise errors.RequestRefused("a command must not contain NUL characters")
    return data


def _check(request: ExecRequest, settings: list[str]) -> None:
    """Hold what the caller wrote to the limits; what we add to it does not count."""
    words = request.argv or (request.command or "", *request.extra_args)
    sizes = [len(_encode(text)) for text in (*words, *settings, request.cwd)]
    if max(sizes) > LARGEST_ARGUMENT_BYTES or sum(sizes) > LARGEST_ARGUMENTS_BYTES:
        raise errors.RequestRefused("the command is too long")
    if len(settings) > LARGEST_VARIABLES:
        raise errors.RequestRefused("the command has too many environment variables")
    if max(len(request.argv or ()), len(request.extra_args)) > LARGEST_ARGUMENTS:
        raise errors.RequestRefused("the command has too many arguments")
