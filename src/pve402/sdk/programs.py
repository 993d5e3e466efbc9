"""Programs in a box: run to their end, talked to meanwhile, or left running."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from pve402 import client, schemas
from pve402.client import streams
from pve402.sdk import facts, wishes
from pve402.sdk.commands import AsyncCommand, checked


class AsyncPrograms(facts.Facts):
    """What a box runs."""

    _service: client.Client

    async def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        timeout_seconds: float | None = None,
        max_output_bytes: int | None = None,
        check: bool = False,
    ) -> schemas.ExecAnswer:
        """Run a command to its end: text through `sh`, a sequence of words without a shell.

        It is ended after 600 s, or `timeout_seconds` up to 3,600; of its output 1 MiB is kept, or
        `max_output_bytes` up to 16 MiB. With `check`, raises CommandFailed if it fails. Raises
        Refused, RequestInvalid, and ServiceUnreachable if the connection breaks, which ends it.
        """
        wish = wishes.checked(
            schemas.ExecRequest,
            **wishes.program(command, env, cwd, user),
            **_input(stdin),
            timeout_seconds=timeout_seconds,
            max_output_bytes=max_output_bytes,
        )
        answer = await client.commands.run(self._service, self.lease_id, wish)
        return checked(_as_text(answer), check=check)

    def stream(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
    ) -> AbstractAsyncContextManager[streams.Stream]:
        """Run a command for the block, and talk to it meanwhile: output as it comes, and stdin.

        It outlives broken connections of up to a minute, and is ended with the block. Raises
        Refused, RequestInvalid, ServiceUnreachable; reading its output may raise CommandLost.
        """
        wish = wishes.checked(
            schemas.StreamSocketRequest, **wishes.program(command, env, cwd, user)
        )
        return streams.opened(self._service, self.lease_id, wish)

    def shell(
        self, *, columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[streams.Stream]:
        """Open an interactive shell on a terminal (pty) of its own. Raises as `stream`."""
        wish = wishes.checked(
            schemas.StreamSocketRequest,
            service="shell",
            columns=columns,
            rows=rows,
            env={"TERM": "xterm", **(env or {})},
        )
        return streams.opened(self._service, self.lease_id, wish)

    async def spawn(
        self,
        command: str | Sequence[str],
        *,
        open_stdin: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncCommand:
        """Start a command that runs on without us; `command(exec_id)` comes back to it.

        Raises Refused, RequestInvalid, and ServiceUnreachable if it may or may not have started.
        """
        wish = wishes.checked(
            schemas.ExecRequest,
            **wishes.program(command, env, cwd, user),
            open_stdin=open_stdin,
            timeout_seconds=timeout_seconds,
        )
        started = await client.detached.start(self._service, self.lease_id, wish)
        return AsyncCommand(self._service, self.lease_id, started.exec_id)

    async def command(self, exec_id: str) -> AsyncCommand:
        """Come back to a command. Raises ExecNotFound, Refused, ServiceUnreachable."""
        found = await client.detached.show(self._service, self.lease_id, exec_id)
        return AsyncCommand(self._service, self.lease_id, found.exec_id)

    async def commands(self) -> Sequence[schemas.ExecItem]:
        """The box's commands: those that run, and those that ended recently. Raises as `show`."""
        return await client.detached.every(self._service, self.lease_id)


def _input(stdin: str | bytes | None) -> dict[str, Any]:
    """The fields of stdin; bytes make the answer's encoding base64."""
    if isinstance(stdin, bytes):
        return {"stdin": base64.b64encode(stdin).decode(), "encoding": "base64"}
    return {"stdin": stdin}


def _as_text(answer: schemas.ExecAnswer) -> schemas.ExecAnswer:
    if answer.encoding == "utf-8":
        return answer
    told = {
        name: base64.b64decode(getattr(answer, name)).decode(errors="replace")
        for name in ("output", "stdout", "stderr")
    }
    return answer.model_copy(update={**told, "encoding": "utf-8"})
