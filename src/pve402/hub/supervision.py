"""Supervises one attached program from start to end: stdin, time limit, cancellation."""

import asyncio
from collections.abc import AsyncIterator

from pve402.hub import quoting
from pve402.hub.channels import Channel
from pve402.hub.execution import Execution
from pve402.hub.options import HubOptions
from pve402.hub.session import Session

Source = AsyncIterator[bytes]


async def supervise(
    session: Session,
    channel: Channel,
    execution: Execution,
    options: HubOptions,
    stdin: Source | None = None,
) -> None:
    """Wait until a program ends, is lost, or is killed; `execution` holds the outcome."""
    feeder = asyncio.create_task(feed(session, channel, stdin)) if stdin is not None else None
    if feeder is not None:
        feeder.add_done_callback(lambda _: execution.stdin.end())
    try:
        if await execution.wait_over(_time_limit(execution, options)):
            return
        if execution.is_let_go:
            session.abandon(channel)
            return
        execution.timed_out = not execution.cancelled
        await end(session, channel, execution, options)
    except asyncio.CancelledError:
        session.put(f"k {channel.name} KILL".encode(), channel)
        session.abandon(channel)
        raise
    finally:
        if feeder is not None:
            feeder.cancel()


async def end(
    session: Session, channel: Channel, execution: Execution, options: HubOptions
) -> None:
    """Send TERM, some seconds later KILL, and finally give up on the output."""
    for signal in ("TERM", "KILL"):
        # A program that has only just started has no group yet.
        for _ in range(3):
            if channel.is_over or await session.signal(channel, signal):
                break
            await asyncio.sleep(0.05)
        if await execution.wait_over(options.kill_after_seconds, ignore_cancel=True):
            return
    session.abandon(channel)
    if not await execution.wait_over(options.kill_after_seconds, ignore_cancel=True):
        channel.finish(137)


async def feed(session: Session, channel: Channel, stdin: Source) -> None:
    """Send stdin, never more than the program's pipe has room for."""
    async for data in stdin:
        for piece in quoting.formats(data):
            await channel.stdin_credit.acquire()
            if channel.stdin_closed:
                return
            session.send_stdin(channel, piece)
    while channel.passed_lines < channel.sent_lines and not channel.stdin_closed:
        await channel.stdin_credit.acquire()
    if not channel.is_over:
        session.put(b"i %d e" % channel.slot, channel)


def _time_limit(execution: Execution, options: HubOptions) -> float:
    asked = execution.request.timeout_seconds
    limit = options.default_timeout_seconds if asked is None else asked
    return min(limit, options.max_timeout_seconds)
