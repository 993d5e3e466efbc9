"""Tools for what becomes of a box during its lease: power, another size, a fresh container."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field

from pve402 import client, schemas
from pve402.mcp_server import answers, showing, texts
from pve402.mcp_server.arguments import Cores, DiskGb, Env, MemoryMb, Name, UserData
from pve402.mcp_server.desk import Desk
from pve402.sdk import wishes

#: The service waits 20 s itself, before it answers that something goes on.
FOLLOW_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 2.0
_SWITCHES: Final = {
    "start": client.Client.start,
    "pause": client.Client.pause,
    "stop": client.Client.stop,
}
_POWERED: Final = {
    "start": showing.READY_TO_USE,
    "pause": "It keeps its disk. `power` with start wakes it; its time goes on at the lower rate.",
    "stop": "It keeps its disk, and its time goes on. `power` with start starts it.",
}
_RESIZED: Final = {
    "quote": "Nothing was changed; the same call without `only_quote` changes it.",
    "changing": "It goes on by itself; the same call again tells how it ended.",
    "undoing": "It gets its old size back; `problem` says why.",
    "failed": "It has its old size; `problem` says why.",
}
_REINSTALLED: Final = {
    "done": "All files are fresh. " + showing.READY_TO_USE,
    "reinstalling": "It goes on by itself. The same call again, at once, tells how it ended; later"
    " than a minute after its end it would destroy everything anew.",
    "failed": "The box is as it was; `problem` says why.",
}

Changed = TypeVar("Changed", schemas.ChangeAnswer, schemas.ReinstallAnswer)


class ChangeTools:
    """What agents change about a box."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def power(
        self,
        lease: Name,
        action: Annotated[
            Literal["start", "pause", "stop"],
            Field(description="`start` also wakes a paused box."),
        ],
    ) -> answers.Powered:
        """Start, pause or stop a box. Free; its files stay, but what runs in it ends.

        While it is paused its paid time lasts longer, where its sku allows that; while it is
        stopped it does not.
        """
        async with self._desk.box(lease) as (service, found):
            item = await _SWITCHES[action](service, found)
            shown = showing.lease(item, service.now())
        done = "pause" if shown.guest == "paused" else action  # a stop leaves it paused
        return answers.Powered(lease=shown, next=_POWERED[done])

    async def resize(
        self,
        *,
        lease: Name,
        cores: Cores = None,
        memory_mb: MemoryMb = None,
        disk_gb: DiskGb = None,
        allow_restart: Annotated[
            bool, Field(description="Restart it if it must be; what runs in it ends then.")
        ] = False,
        only_quote: Annotated[
            bool,
            Field(description="Change nothing; tell what it would burn, and when it would end."),
        ] = False,
    ) -> answers.Resized:
        """Change the size of a box; what is left out stays, and a disk only grows.

        Nothing is paid: a larger box uses up its paid time faster, a smaller one slower.
        """
        size = {"cores": cores, "memory_mb": memory_mb, "disk_gb": disk_gb}
        async with self._desk.box(lease) as (service, found):
            if only_quote:
                seen = await client.size_changes.quote(service, found, **size)
            else:
                seen = await _followed(
                    await client.size_changes.change(
                        service, found, **size, allow_restart=allow_restart
                    ),
                    lambda: client.size_changes.show(service, found),
                    {"changing", "undoing"},
                )
        return answers.Resized(
            state=seen.state,
            problem=_code(seen.problem),
            before=_size(seen.before),
            after=_size(seen.after),
            expires_at=showing.moment(seen.expires_at),
            next=_RESIZED.get(seen.state, ""),
        )

    async def reinstall(
        self,
        *,
        lease: Name,
        template: Annotated[
            str | None,
            Field(description="One of the sku's templates; by default its own.", max_length=255),
        ] = None,
        env: Env = None,
        user_data: UserData = None,
        delete_snapshots: Annotated[
            bool, Field(description="Delete its snapshots, too, if it has any.")
        ] = False,
    ) -> answers.Reinstalled:
        """Destroy all files of a box and make a fresh one in its place. Free.

        Its name, addresses, size, published ports and paid time stay, and its `env` if none is
        given.
        """
        async with self._desk.box(lease) as (service, found):
            wish = wishes.checked(
                schemas.ReinstallRequest,
                template=template,
                password=await self._password(service, found),
                env=env,
                user_data=user_data,
                delete_snapshots=delete_snapshots,
            )
            seen = await _followed(
                await client.reinstalls.reinstall(service, found, wish),
                lambda: client.reinstalls.show(service, found),
                {"reinstalling"},
            )
        return answers.Reinstalled(
            state=seen.state,
            problem=_code(seen.problem),
            expires_at=showing.moment(seen.expires_at),
            next=_REINSTALLED.get(seen.state, ""),
        )

    async def _password(self, service: client.Client, lease: str) -> str | None:
        """The password of root, so that a repeated call is the same; None: its keys log in."""
        known = await service.details(lease)
        if known.ssh_public_keys:
            return None
        secret = await self._desk.key() or (await service.authorization(lease))["Authorization"]
        return wishes.root_password(secret, known.lease_id)


async def _followed(
    seen: Changed, look: Callable[[], Awaitable[Changed]], going: Collection[str]
) -> Changed:
    """Look at something that goes on until it has ended, or for as long as a call may last."""
    with contextlib.suppress(TimeoutError, client.ClientError):
        async with asyncio.timeout(FOLLOW_SECONDS):
            while seen.state in going:
                await asyncio.sleep(LOOK_SECONDS)
                seen = await look()
    return seen


def _code(problem: str | None) -> str | None:
    return None if problem is None else texts.word(problem)


def _size(one: schemas.SizeAtPrice) -> answers.Size:
    return answers.Size(
        cores=one.cores,
        memory_mb=one.memory_mb,
        disk_gb=one.disk_gb,
        minute_usd=texts.word(one.minute_usd),
    )
