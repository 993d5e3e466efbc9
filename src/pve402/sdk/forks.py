"""Copies of a box, leased with one payment."""

import secrets
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Self

from pve402 import client, schemas
from pve402.sdk import facts, paying

_MAX_USD: Final = "1.00"


class AsyncForking(facts.Facts):
    """What a box can do to be copied."""

    _service: client.Client
    _ends_on_exit: bool

    def __init__(self, service: client.Client, state: facts.State, *, ends_on_exit: bool) -> None:
        """Keep the parts of a box."""

    async def fork(  # noqa: PLR0913 -- one option each
        self,
        *,
        minutes: int,
        count: int = 1,
        max_usd: Decimal | str = _MAX_USD,
        snapshot: str | None = None,
        hostname: str | None = None,
        password: str | None = None,
        ssh_public_keys: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        user_data: str | None = None,
        idempotency_key: str | None = None,
        ends_on_exit: bool = True,
    ) -> list[Self]:
        """Lease copies of the box, each a box of its own; at most `max_usd` is paid for all.

        A copy has the disk and the size of the box, or of one of its snapshots, and starts as after
        a power cut. Whether it can be made now is told by `can_fork`. One that was paid and did not
        come up is not returned: it is made again, or owed. Raises as `lease`.
        """
        wish = schemas.ForkRequest(
            runtime_minutes=minutes,
            count=count,
            snapshot=snapshot,
            hostname=hostname,
            password=password,
            ssh_public_keys=list(ssh_public_keys),
            env=dict(env) if env else None,
            user_data=user_data,
        )
        made = await self._forked(wish, paying.usd(max_usd), idempotency_key)
        delivered = [one for one in made if one.access_token]
        return [await self._copy(one, ends_on_exit=ends_on_exit) for one in delivered]

    async def can_fork(self, snapshot: str | None = None) -> schemas.ForkOffer:
        """Whether the box, or a snapshot of it, can be copied now. Raises as `show`."""
        return await client.forks.offer(self._service, self.lease_id, snapshot)

    async def _forked(
        self, wish: schemas.ForkRequest, cap_usd: Decimal, idempotency_key: str | None
    ) -> list[schemas.LeaseAnswer]:
        once = idempotency_key or secrets.token_urlsafe(24)
        bought = await paying.settled(
            lambda so_far: client.forks.fork(
                self._service,
                self.lease_id,
                wish,
                idempotency_key=once,
                on_progress=so_far.note,
                cap_usd=cap_usd,
            ),
            once,
        )
        return [bought, *bought.others]

    async def _copy(self, made: schemas.LeaseAnswer, *, ends_on_exit: bool) -> Self:
        """Make the box of a copy, with connections of its own."""
        client.names.check_lease_id(made.lease_id)
        state = facts.State(url=self.url, lease=made, token=made.access_token)
        return await self._opened(state, ends_on_exit=ends_on_exit)

    async def _reopened(self) -> Self:
        """Return the box with new connections, which are of the loop that runs now."""
        return await self._opened(self._state, ends_on_exit=self._ends_on_exit)

    async def _opened(self, state: facts.State, *, ends_on_exit: bool) -> Self:
        service = self._service.sibling(state.token)
        await service.__aenter__()
        return type(self)(service, state, ends_on_exit=ends_on_exit)
