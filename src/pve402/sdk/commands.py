"""Detached commands of a box."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pve402 import client, schemas
from pve402.client import errors


class AsyncCommand:
    """A command that runs on without us; `exec_id` is what to come back with."""

    def __init__(self, service: client.Client, lease_id: str, exec_id: str) -> None:
        self._service = service
        self._lease_id = lease_id
        self._exec_id = exec_id

    @property
    def exec_id(self) -> str:
        """The command's name in its box: `box.command(exec_id)` comes back to it."""
        return self._exec_id

    async def show(self) -> schemas.ExecAnswer:
        """How far it is, with its output so far: the first MiB of each stream.

        Raises ExecNotFound, Refused, ServiceUnreachable.
        """
        return await client.detached.show(self._service, self._lease_id, self._exec_id)

    async def wait(self, *, check: bool = False) -> schemas.ExecAnswer:
        """Wait until it ends, over broken connections.

        Raises CommandLost if a restart of the container ended it, CommandFailed if it fails and
        `check` is true, and as `show`.
        """
        async with aclosing(self.output()) as output:
            async for _piece in output:
                pass
        return checked(await self.show(), check=check)

    async def output(self) -> AsyncGenerator[client.commands.Output]:
        """Yield its output from the beginning, as it comes, until it ends. Raises as `wait`."""
        following = client.detached.follow(self._service, self._lease_id, self._exec_id)
        async with aclosing(following):
            async for told in following:
                if isinstance(told, client.commands.Output):
                    yield told

    async def write(self, data: bytes) -> None:
        """Write to its stdin, if it was started with `open_stdin`. Raises as `show`."""
        await client.detached.write(self._service, self._lease_id, self._exec_id, data)

    async def end_input(self) -> None:
        """End its stdin. Raises as `show`."""
        await client.detached.write(self._service, self._lease_id, self._exec_id, b"", is_last=True)

    async def signal(self, name: str = "TERM") -> None:
        """Send a signal to all its processes. Raises as `show`."""
        await client.detached.signal(self._service, self._lease_id, self._exec_id, name)

    async def remove(self) -> None:
        """Kill it if it still runs, and delete its output. Raises as `show`."""
        await client.commands.end(self._service, self._lease_id, self._exec_id)


def checked(answer: schemas.ExecAnswer, *, check: bool) -> schemas.ExecAnswer:
    """Return the answer. Raises CommandFailed if `check` is true and the command failed."""
    if check and (answer.timed_out or answer.exit_code != 0):
        code = None if answer.timed_out else answer.exit_code
        raise errors.CommandFailed(code, answer.stdout, answer.stderr)
    return answer
