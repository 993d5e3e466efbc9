"""A rented container, for programs that use asyncio; `pve402.sdk.blocking` makes the others' of it.

async with pve402.AsyncBox.lease(url, key="0x...", minutes=10, max_usd="0.05") as box:
    print((await box.run("uptime")).stdout)
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from pve402 import client, schemas
from pve402.client import errors, ledger, refusals
from pve402.sdk import alterations, facts, forks, paying, private_images, programs, wishes
from pve402.sdk.files import AsyncFiles
from pve402.sdk.ports import AsyncPorts
from pve402.sdk.snapshots import AsyncSnapshots

Made = TypeVar("Made", bound=AbstractAsyncContextManager[Any])

DEFAULT_MAX_USD: Final = "1.00"
_END_SECONDS: Final = 60.0
_LONGEST_PAUSE_SECONDS: Final = 5


class Opening(Generic[Made]):
    """What can be awaited, or entered at once with `async with`."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Made]]) -> None:
        self._make = make
        self._made: Made | None = None

    def __await__(self) -> Generator[Any, Any, Made]:
        """Make it; it is left open."""
        return self._make().__await__()

    async def __aenter__(self) -> Made:
        """Make it and enter it."""
        self._made = await self._make()
        await self._made.__aenter__()
        return self._made

    async def __aexit__(self, *raised: Any) -> bool | None:
        """Leave it."""
        return await self._made.__aexit__(*raised) if self._made is not None else None


class AsyncBox(
    forks.AsyncForking,
    programs.AsyncPrograms,
    alterations.AsyncAlterations,
    private_images.WithImages,
):
    """A leased container. Leaving its `async with` block ends the lease, if it was leased there."""

    def __init__(self, service: client.Client, state: facts.State, *, ends_on_exit: bool) -> None:
        self._service = service
        self._state = state
        self._ends_on_exit = ends_on_exit
        self._paying = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._files = AsyncFiles(service, self.lease_id)
        self._ports = AsyncPorts(service, self.lease_id)
        self._snapshots = AsyncSnapshots(service, self.lease_id)

    @classmethod
    def lease(  # noqa: PLR0913 -- one option each
        cls,
        url: str,
        *,
        minutes: int,
        key: str | None = None,
        max_usd: Decimal | str = DEFAULT_MAX_USD,
        sku: str | None = None,
        cores: int | None = None,
        memory_mb: int | None = None,
        disk_gb: int | None = None,
        template: str | None = None,
        hostname: str | None = None,
        password: str | None = None,
        ssh_public_keys: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        user_data: str | None = None,
        user_data_network: bool | None = None,
        wake_on: Sequence[str] = (),
        idle_pause_minutes: int | None = None,
        idempotency_key: str | None = None,
        ends_on_exit: bool = True,
        waits_for_network: bool = True,
        book: ledger.Ledger | None = None,
    ) -> "Opening[Self]":
        """Lease a container and wait until it runs; at most `max_usd` is paid for it.

        It waits for the network, too, unless it is told not to: for a minute at most. A box whose
        network is `pending` even then (`seen.network_status`) is handed over all the same, since it
        is paid.

        `key` is the wallet's, by default that of PVE402_WALLET_KEY. What is left open is the
        first sku on sale in its usual size. All commands of the lease get `env`.
        The script `user_data` is run once by root, when the network is ready unless
        `user_data_network` is False; `user_data()` tells what became of it. `wake_on` says
        what wakes the box when it is paused: command, console, port. It is paused by itself after
        `idle_pause_minutes`. `book` is the spend ledger, by default the user's own.
        Raises OverCap (OverLimit of the ledger), KeyNeeded, Refused by its class,
        ServiceUnreachable, and OutcomeUnknown once a payment was sent: the same call with the
        idempotency key of that error gets the lease that it bought, if it did.
        """
        once = idempotency_key or secrets.token_urlsafe(24)
        wanted = {
            "sku": sku,
            "runtime_minutes": minutes,
            "hostname": hostname,
            "cores": cores,
            "memory_mb": memory_mb,
            "disk_gb": disk_gb,
            "template": template,
            "password": password,
            "ssh_public_keys": list(ssh_public_keys),
            "env": dict(env) if env else None,
            "user_data": user_data,
            "user_data_network": user_data_network,
            "wake_on": list(wake_on) or None,
            "idle_pause_minutes": idle_pause_minutes,
        }

        async def make() -> Self:
            own = wishes.wallet_key(key)
            service = client.Client(url, key=own, cap_usd=paying.usd(max_usd), book=book)
            async with _left_open(service):
                wish = await wishes.lease(service, own, once, **wanted)
                made = await paying.settled(
                    lambda so_far: service.lease(
                        wish, idempotency_key=once, on_progress=so_far.note
                    ),
                    once,
                )
                client.names.check_lease_id(made.lease_id)
            state = facts.State(url=service.url, lease=made, token=made.access_token)
            box = cls(service, state, ends_on_exit=ends_on_exit)
            if waits_for_network:
                await box._connected()
            return box

        return Opening(make)

    @classmethod
    def connect(
        cls,
        url: str,
        lease: str,
        *,
        token: str | None = None,
        key: str | None = None,
        ends_on_exit: bool = False,
        book: ledger.Ledger | None = None,
    ) -> "Opening[Self]":
        """Come back to a lease by its leaseId and token, or with the wallet's key.

        `lease` may be its ctid or the host name of just one lease, too. Raises LeaseNotFound,
        NameUnknown, NameAmbiguous, NotAuthenticated, LeaseOver, KeyNeeded, ServiceUnreachable.
        """

        async def make() -> Self:
            own = wishes.wallet_key(key)
            service = client.Client(url, token=token, key=own, book=book)
            async with _left_open(service):
                found = await service.show(await client.names.resolve(service, lease))
                client.names.check_lease_id(found.lease_id)
                if found.status in {"ended", "failed"}:
                    raise refusals.of(410, "lease_over", f"the lease has {found.status}")
            state = facts.State(url=service.url, lease=found, token=token)
            return cls(service, state, ends_on_exit=ends_on_exit)

        return Opening(make)

    async def __aenter__(self) -> Self:
        """Nothing more: the box is there already."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the lease if it was leased here, and close the connections."""
        try:
            if self._ends_on_exit:
                await self.end()
        except errors.ClientError as failure:
            if error is None:
                raise
            error.add_note(f"the lease {self.lease_id} could not be ended: {failure}")
        finally:
            await self.close()

    @property
    def service(self) -> client.Client:
        """The client of its service, for what a box does not offer itself."""
        return self._service

    @property
    def files(self) -> AsyncFiles:
        """Its files and folders."""
        return self._files

    @property
    def ports(self) -> AsyncPorts:
        """Its published ports."""
        return self._ports

    @property
    def snapshots(self) -> AsyncSnapshots:
        """States of its disk to come back to."""
        return self._snapshots

    async def usage(self, timeframe: schemas.TimeFrame = "hour") -> schemas.UsageAnswer:
        """What the container used in the last hour, day, week or month. Raises as `show`."""
        return await client.usage.show(self._service, self.lease_id, timeframe)

    async def user_data(self) -> schemas.UserDataAnswer:
        """What became of the script that came with the lease. Raises NotFound, and as `show`."""
        return await client.user_data.show(self._service, self.lease_id)

    async def wait_for_network(self, *, timeout_seconds: float = 60.0) -> None:
        """Wait until packets pass: for some seconds after its start the network may be `pending`.

        Raises TimeoutError, and as `show`.
        """
        async with asyncio.timeout(timeout_seconds):
            while (await self.show()).network_status == "pending":  # noqa: ASYNC110 -- who asks
                await asyncio.sleep(1)

    async def renew(
        self,
        minutes: int,
        *,
        max_usd: Decimal | str = DEFAULT_MAX_USD,
        idempotency_key: str | None = None,
    ) -> schemas.LeaseAnswer:
        """Buy more minutes, for at most `max_usd`. Raises as `lease`."""
        once = idempotency_key or secrets.token_urlsafe(24)
        return await self._renewed(minutes, paying.usd(max_usd), once, self._service.book)

    async def keep_alive(self, *, max_usd: Decimal | str, minutes: int = 10) -> paying.Keeping:
        """Renew by `minutes` whenever half of that is left, while all renewals cost `max_usd`.

        It goes on in the background until the box is closed, ended or `let_expire` is called;
        what it returns says how it goes. The limits of the box's `book` hold, too.
        """
        await self.let_expire()
        keeping = paying.Keeping(minutes=minutes, max_usd=paying.usd(max_usd))
        self._keeper = asyncio.create_task(
            paying.keep_alive(
                self, self._renewed, keeping, self._service.book, now=self._service.now
            )
        )
        return keeping

    async def let_expire(self) -> None:
        """Keep it alive no more; a renewal that is in progress is waited for."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS), self._paying:
                    keeper.cancel()
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def start(self) -> schemas.LeaseItem:
        """Start the container if it is stopped or paused. Raises as `show`."""
        return self._noted(await self._service.start(self.lease_id))

    async def stop(self) -> schemas.LeaseItem:
        """Stop the container; its paid time keeps running. Raises as `show`."""
        return self._noted(await self._service.stop(self.lease_id))

    async def pause(self) -> schemas.LeaseItem:
        """Stop the container, and burn less until it is started. Raises as `show`."""
        return self._noted(await self._service.pause(self.lease_id))

    async def reboot(self) -> schemas.LeaseItem:
        """Reboot the container. Raises as `show`."""
        return self._noted(await self._service.reboot(self.lease_id))

    async def end(self) -> None:
        """End the lease and destroy the container; nothing is refunded.

        Repeats the request for up to a minute. Raises Refused, ServiceUnreachable.
        """
        await self.let_expire()
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + _END_SECONDS
        while True:
            try:
                self._noted(await self._service.end(self.lease_id))
            except refusals.LeaseOver:
                return
            except (errors.ServiceUnreachable, errors.Refused) as error:
                if not _may_pass(error) or clock() > give_up_at:
                    raise
                await asyncio.sleep(_pause_seconds(error))
            else:
                return

    async def close(self) -> None:
        """Close the connections; the lease goes on until its paid time ends."""
        await self.let_expire()
        await self._service.__aexit__()

    async def _connected(self) -> None:
        """Wait for the network of a new box; leave the box if that is interrupted."""
        try:
            if self.seen.network_status == "pending":
                with contextlib.suppress(TimeoutError, errors.ClientError):
                    await self.wait_for_network()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise

    async def _renewed(
        self, minutes: int, cap_usd: Decimal, once: str, book: ledger.Ledger
    ) -> schemas.LeaseAnswer:
        async with self._paying:
            self._state.lease = renewed = await paying.settled(
                lambda so_far: self._service.renew(
                    self.lease_id,
                    minutes,
                    idempotency_key=once,
                    on_progress=so_far.note_sent,
                    cap_usd=cap_usd,
                    book=book,
                ),
                once,
            )
        return renewed

    def _noted(self, found: schemas.LeaseItem) -> schemas.LeaseItem:
        self._state.lease = found
        return found


@contextlib.asynccontextmanager
async def _left_open(service: client.Client) -> AsyncIterator[None]:
    """Open a client, and close it only if the block fails."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(service)
        yield
        stack.pop_all()


def _may_pass(error: errors.ClientError) -> bool:
    passing = (errors.ServiceUnreachable, refusals.LeaseBusy, refusals.TooMany, refusals.TryLater)
    return isinstance(error, passing) or (isinstance(error, errors.Refused) and error.is_passing)


def _pause_seconds(error: errors.ClientError) -> int:
    told = error.retry_after_seconds if isinstance(error, errors.Refused) else None
    return min(told or 1, _LONGEST_PAUSE_SECONDS)
