"""Shared code of all parts' command lines."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

FAILED = 1
RECURSION_LIMIT = 1000  # Python's own default
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class CannotStart(RuntimeError):
    """A part cannot start; the text says why and what to do."""


def main(
    parser: argparse.ArgumentParser,
    serve: Callable[[argparse.Namespace], Coroutine[Any, Any, None]],
    arguments: Sequence[str] | None,
) -> int:
    """Serve what the command line requests, until a signal; returns the exit status.

    0 after SIGINT, SIGTERM, SIGHUP or `--help`; 1 when the part cannot start (a port is taken,
    guests are refused, a file cannot be written); 2 for a bad command line.
    """
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Ethereum libraries raise it so high that nested JSON from outside could crash the process.
    sys.setrecursionlimit(RECURSION_LIMIT)
    try:
        asyncio.run(serve(chosen))
    except (CannotStart, OSError) as error:
        Console(stderr=True).print(f"devnet: {error}", style="bold red", highlight=False)
        return FAILED
    return 0


def ending() -> asyncio.Event:
    """An event that SIGINT, SIGTERM and SIGHUP set."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, event.set)
    return event


def say(line: str) -> None:
    """Print a line now, even into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def port(text: str) -> int:
    """Read a port."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return number


def scale(text: str) -> float:
    """Parse a scale for times."""
    number = float(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError("a scale is 0 to 100")
    return number


def address(text: str) -> str:
    """Parse an EVM address."""
    if not ADDRESS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} is not an address (0x and 40 hexadecimal digits)")
    return text


def file(text: str) -> Path:
    """Parse the path of a file that can be created."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    return path


def root_folder(text: str) -> str:
    """Parse the path of a folder that guests can be shown."""
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    if path.is_relative_to("/tmp"):  # noqa: S108 -- the namespace of each guest covers it
        raise argparse.ArgumentTypeError("guests cannot be shown a folder below /tmp")
    return str(path)


def add_port(add: Callable[..., Any], default: int) -> None:
    """Add `--port`."""
    told = "Port on loopback; 0 takes a free one. Default: %(default)s."
    add("--port", type=port, default=default, metavar="N", help=told)


def add_latency(add: Callable[..., Any]) -> None:
    """Add `--latency`."""
    told = "Scale of Proxmox VE's times, measured on a real one; 0 for no waiting."
    add("--latency", type=scale, default=1.0, metavar="SCALE", help=told)


def add_unsafe_shells(add: Callable[..., Any]) -> None:
    """Add `--unsafe-shells`."""
    told = "Run guests without isolation where this machine refuses namespaces."
    add("--unsafe-shells", action="store_true", help=told)


def add_network(add: Callable[..., Any]) -> None:
    """Add `--network`."""
    told = "Give guests network cards, and filter their packets as Proxmox VE's firewall does."
    add("--network", action="store_true", help=told)


def add_uplink(add: Callable[..., Any]) -> None:
    """Add `--uplink`."""
    told = "Let containers reach this port of loopback, at 203.0.113.9; implies --network."
    add("--uplink", type=port, action="append", default=[], metavar="PORT", help=told)


def add_fund(add: Callable[..., Any]) -> None:
    """Add `--fund`."""
    told = "Give this account test money; may be repeated."
    add("--fund", type=address, action="append", default=[], metavar="ADDRESS", help=told)
