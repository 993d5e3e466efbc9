"""Commands that may outlive the call that started them, and what was seen of them so far."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from pve402 import client, schemas
from pve402.client import commands, detached, errors, refusals
from pve402.mcp_server import answers, texts

EXEC_ID: Final = re.compile(r"e[0-9a-f]{24}")


class Seen:
    """What was seen of a command."""

    def __init__(
        self, most_bytes: int, *, stdout_from: int | None = None, stderr_from: int | None = None
    ) -> None:
        self._kept = {
            "stdout": texts.Kept(most_bytes, skipped_bytes=stdout_from),
            "stderr": texts.Kept(most_bytes // 2, skipped_bytes=stderr_from),
        }
        self.ending: commands.Ending | None = None
        self._is_lost = False

    async def watch(
        self, following: AsyncGenerator[commands.Output | commands.Ending], seconds: float
    ) -> None:
        """Read output until the command ends, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), aclosing(following):
                try:
                    async for told in following:
                        self._take(told)
                except errors.CommandLost:
                    self._is_lost = True

    @property
    def left_out_bytes(self) -> int:
        """How much of what was written is not shown."""
        return sum(kept.left_out_bytes for kept in self._kept.values())

    def answer(self, exec_id: str) -> answers.Command:
        """Describe it."""
        ending = self.ending
        dropped = bool(ending and ending.truncated)
        return answers.Command(
            exec_id=errors.plain(exec_id, 32),
            state="lost" if self._is_lost else "exited" if ending else "running",
            exit_code=ending.exit_code if ending else None,
            timed_out=bool(ending and ending.timed_out),
            from_container=answers.Output(
                stdout=self._kept["stdout"].text(), stderr=self._kept["stderr"].text()
            ),
            stdout_bytes=self._kept["stdout"].seen_bytes,
            stderr_bytes=self._kept["stderr"].seen_bytes,
            left_out_bytes=self.left_out_bytes,
            service_dropped_output=dropped,
            next=self._following(dropped),
        )

    def _take(self, told: commands.Output | commands.Ending) -> None:
        if isinstance(told, commands.Output):
            self._kept[told.stream].add(told.data)
        else:
            self.ending = told

    def _following(self, dropped: bool) -> str:
        if self._is_lost:
            return "The box was restarted and ended it. Run it again if that is harmless."
        if self.ending is None:
            return "It goes on. `check_command` looks again, `stop_command` stops it."
        if dropped:
            return "Run it again with its output in a file, and use `read_file`."
        if self.left_out_bytes:
            return "`check_command` with `stdout_from` or `stderr_from` shows what was left out."
        return ""


async def started(
    service: client.Client, lease: str, wish: schemas.ExecRequest
) -> schemas.ExecAnswer:
    """Start a command; if the box keeps too many, forget those that ended, and try again."""
    try:
        return _named(await detached.start(service, lease, wish))
    except refusals.TooMany as refused:
        ended = [one for one in await detached.every(service, lease) if one.state != "running"]
        if refused.code != "too_many_commands" or not ended:
            raise
        for one in ended:
            with contextlib.suppress(refusals.ExecNotFound):
                await commands.end(service, lease, one.exec_id)
    return _named(await detached.start(service, lease, wish))


def _named(answer: schemas.ExecAnswer) -> schemas.ExecAnswer:
    """Refuse an id that could lead a later request elsewhere."""
    if not EXEC_ID.fullmatch(answer.exec_id):
        raise errors.UnexpectedAnswer("the execId in the service's answer is not valid")
    return answer
