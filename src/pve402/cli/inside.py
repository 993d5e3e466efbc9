"""Tenants' commands for the inside of a container: exec, cp, put, get.

`pve402 exec` exits with the command's own exit code, with 124 if the command timed out, with 125
if part of its output is missing and it ended with 0, and with 255 if it could not run or its
outcome is unknown.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from pve402.cli import options
from pve402.cli.options import DEFAULT_URL, AsJson, Ctid, Remote, Token, Url

LARGEST_FILE_BYTES = 1024**3
DEFAULT_SECONDS = 600.0


class WordsLast(typer.core.TyperCommand):
    """A command that runs another program: what follows the program's name belongs to the program.

    Our own options go before the first argument or right after it.
    """

    #: Whether an option that is not ours is already one of the program.
    leaves_unknown = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse our options, and leave the words after them unchanged."""
        before, rest = self._leading_options(args)
        if rest:
            behind, words = self._leading_options(rest[1:])
            if words:  # otherwise the base class reports what is missing
                args = [*before, *behind, "--", rest[0], *words]
        return super().parse_args(ctx, args)

    def _known(self) -> set[str]:
        return {name for parameter in self.params for name in parameter.opts} | {"--help"}

    def _leading_options(self, args: list[str]) -> tuple[list[str], list[str]]:
        """Split off the leading options with their values, and drop a `--` after them."""
        valued = {
            name
            for parameter in self.params
            if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False)
            for name in parameter.opts
        }
        place = 0
        while place < len(args) and args[place].startswith("-") and args[place] != "-":
            if args[place] == "--":
                return args[:place], args[place + 1 :]
            if self.leaves_unknown and args[place].partition("=")[0] not in self._known():
                break
            place += 2 if args[place] in valued else 1
        return args[:place], args[place:]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="exec", cls=WordsLast)(execute)
    app.command()(cp)
    app.command()(put)
    app.command()(get)


def execute(  # noqa: PLR0913 -- one option each
    ctid: Ctid,
    words: options.Words,
    *,
    user: Annotated[str, typer.Option(help="User to run it as; root by default.")] = "",
    cwd: Annotated[str, typer.Option(help="Directory to run it in.")] = "",
    env: options.Environment = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, help="Time limit in seconds; by default 600, or none with --tty."),
    ] = None,
    stdin: options.PassStdin = False,
    tty: Annotated[
        bool,
        typer.Option("--tty", "-t", help="Run it on a terminal and type into it; -it is the same."),
    ] = False,
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Leave it running and print its id, for `logs`."),
    ] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Run a program in a container and exit with its exit code; it ends with this command.

    Everything after the program's name belongs to the program. With --json its output and exit
    code are printed as one object.
    """
    from pve402.cli import guest_work, shell_work, terminal

    wish = guest_work.request(
        argv=words,
        user=user,
        cwd=cwd,
        env=guest_work.environment(env or []),
        timeout_seconds=timeout or DEFAULT_SECONDS,
    )
    if tty and (detach or as_json):
        terminal.misused("--tty goes with neither --detach nor --json")
    if tty:
        raise typer.Exit(shell_work.program(url, token, ctid, wish, timeout))
    if detach:
        from pve402.cli import program_work

        raise typer.Exit(
            program_work.start(url, token, ctid, wish, with_stdin=stdin, as_json=as_json)
        )
    raise typer.Exit(guest_work.execute(url, token, ctid, wish, with_stdin=stdin, as_json=as_json))


def cp(
    source: Annotated[str, typer.Argument(help="What to copy: a path here, or LEASE:/PATH.")],
    target: Annotated[str, typer.Argument(help="Where to: LEASE:/PATH, or a path here.")],
    *,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Copy what is in a folder.")
    ] = False,
    max_bytes: Annotated[
        int, typer.Option(min=0, help="Largest file to accept, or all files of a folder.")
    ] = LARGEST_FILE_BYTES,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Copy a file or a folder into a container or out of it, and say how fast.

    A folder is made if it is not there; its files are put over those that are there.
    """
    from pve402.cli import copy_work

    copy_work.copy(
        url,
        token,
        source,
        target,
        is_recursive=recursive,
        most_bytes=max_bytes,
        as_json=as_json,
    )


def put(
    ctid: Ctid,
    local: Annotated[Path, typer.Argument(help="File on this machine, or - for stdin.")],
    remote: Remote,
    mode: Annotated[
        str, typer.Option(help="Octal permissions; by default those of the local file.")
    ] = "",
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Copy a file into a container, checked by its SHA-256."""
    from pve402.cli import guest_work

    guest_work.put(url, token, ctid, local, remote, guest_work.permissions(mode))


def get(
    ctid: Ctid,
    remote: Remote,
    local: Annotated[Path, typer.Argument(help="File on this machine, or - for stdout.")],
    max_bytes: Annotated[
        int, typer.Option(min=0, help="Largest file to accept.")
    ] = LARGEST_FILE_BYTES,
    token: Token = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Copy a file out of a container, checked by its SHA-256."""
    from pve402.cli import guest_work

    guest_work.get(url, token, ctid, remote, local, max_bytes)
