"""What is paid for as orders: each is paid once, whatever is interrupted, and may take longer than
the call that placed it.

    found --no--> intent kept --> signed (ledger) --> answered --> intent removed
      +--yes--> joined: in this process, or after a kill by the same key and payment
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from pve402 import client, schemas
from pve402.client import errors, private_images, refusals, spending, threads
from pve402.mcp_server import purchases, texts
from pve402.mcp_server.arguments import PRIVATE
from pve402.mcp_server.desk import Desk
from pve402.mcp_server.intents import Intent
from pve402.mcp_server.problems import ToolFailed
from pve402.sdk import paying, wishes

WAIT_SECONDS: Final = 38.0
"""How long a call waits for the end of the order that it placed."""
MOST_COPIES: Final = 10
_MOST_KEPT: Final = 200
_NETWORK_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 1.0
#: An order is signed within this time of its beginning, or not at all.
_SIGNED_SECONDS: Final = 600
_OTHER_WALLET: Final = (
    "That order is not done, and another wallet of the user paid for it. Choose another name."
)
_TAKEN: Final = {
    "stopped": "`renew` it, for its time is over",
    "stopping": "It ends just now: wait some seconds and call again",
}
_NO_ORDER: Final = "`list_leases` shows what there is, and which orders are open."


@dataclass(frozen=True, kw_only=True)
class Done:
    """What an order bought, leases or a private image, and what it cost if that is known."""

    leases: list[schemas.LeaseAnswer] = field(default_factory=list)
    image: schemas.SavedImageAnswer | None = None
    paid_usd: str | None


@dataclass(kw_only=True)
class Order:
    """An order of this process; `is_told` once an agent has read how it ended."""

    order_id: str
    note: str = ""
    is_told: bool = False
    task: "asyncio.Task[Done]" = field(repr=False)

    @property
    def kind(self) -> str:
        """What it is an order of: lease, renew, fork or image."""
        return self.order_id.partition(":")[0]

    async def wait(self, seconds: float) -> Done | None:
        """Wait for its end; None if it is not done by then. Raises what it failed with."""
        await asyncio.wait({self.task}, timeout=seconds)
        if not self.task.done():
            return None
        self.is_told = True
        return self.task.result()


class Orders:
    """Places orders, and comes back to those that are not done."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._orders: dict[str, Order] = {}
        self._placing = asyncio.Lock()

    async def lease(self, name: str, cap_usd: Decimal, **wished: Any) -> Order:
        """Order a lease of this name, or join the order that there is.

        Raises OverCap if it costs more than `cap_usd`, and NameTaken as ToolFailed.
        """

        async def place(service: client.Client, once: str) -> purchases.Wish:
            await _check_free(service, name)
            key = await self._desk.key()
            wish = await wishes.lease(service, key, once, **wished, hostname=name, password=None)
            self._check_price(client.prices.offered_usd(await service.quote(wish)), cap_usd)
            document = wish.model_dump(mode="json", exclude={"password"}, exclude_none=True)
            return {"lease": document, "cap_usd": str(cap_usd)}

        return await self._ordered(f"lease:{name.lower()}", cap_usd, place)

    async def renew(self, name: str, minutes: int, cap_usd: Decimal) -> Order:
        """Order more minutes for a lease, or for a private image that is named by its template.

        Returns the order that there is, if there is one. Raises as `lease`.
        """
        if name.startswith(PRIVATE):
            return await self._keep(name.removeprefix(PRIVATE), minutes, cap_usd)
        async with self._desk.box(name) as (service, found):
            lease_id = (await service.show(found)).lease_id
        client.names.check_lease_id(lease_id)

        async def place(service: client.Client, _once: str) -> purchases.Wish:
            wish = schemas.RenewalQuoteRequest(ctid=lease_id, runtime_minutes=minutes)
            self._check_price(client.prices.offered_usd(await service.quote(wish)), cap_usd)
            return {"renew": lease_id, "minutes": minutes, "cap_usd": str(cap_usd)}

        return await self._ordered(f"renew:{lease_id}", cap_usd, place)

    async def fork(self, source: str, name: str, cap_usd: Decimal, **wished: Any) -> Order:
        """Order copies of a lease, named `name`, `name-2` and so on. Raises and returns as `lease`.

        What keeps the lease from being copied is said before its price.
        """

        async def place(service: client.Client, _once: str) -> purchases.Wish:
            wish = wishes.checked(schemas.ForkRequest, hostname=name, **wished)
            await _check_free(service, *(_copy_name(name, at) for at in range(wish.count)))
            lease_id = await _lease_id(service, source)
            offer = await client.forks.offer(service, lease_id, wish.snapshot)
            if not offer.possible:
                code = offer.problem or "fork_unsupported"
                raise refusals.of(409, code, "Nothing was copied, and nothing was charged.")
            self._check_price(await client.forks.price_usd(service, lease_id, wish), cap_usd)
            document = wish.model_dump(mode="json", exclude_none=True)
            return {"fork": lease_id, "request": document, "cap_usd": str(cap_usd)}

        return await self._ordered(f"fork:{name.lower()}", cap_usd, place)

    async def save(
        self, source: str, name: str, minutes: int, cap_usd: Decimal, *, snapshot: str | None
    ) -> Order:
        """Order a private image of a lease. Raises and returns as `lease`."""

        async def place(service: client.Client, _once: str) -> purchases.Wish:
            lease_id = await _lease_id(service, source)
            price_usd = await private_images.saving_usd(service, lease_id, minutes)
            if price_usd is not None:  # otherwise the service refuses, and says why
                self._check_price(price_usd, cap_usd)
            image = {"name": name, "minutes": minutes, "snapshot": snapshot}
            return {"save": lease_id, "image": image, "cap_usd": str(cap_usd)}

        return await self._ordered(f"image:{name}", cap_usd, place)

    async def _keep(self, image_id: str, minutes: int, cap_usd: Decimal) -> Order:
        if not client.names.is_lease_id(image_id):
            raise errors.NameUnknown("no private image has this template")

        async def place(service: client.Client, _once: str) -> purchases.Wish:
            image = await private_images.show(service, image_id)
            self._check_price(private_images.price_usd(image.minute_usd, minutes), cap_usd)
            return {"keep": image_id, "minutes": minutes, "cap_usd": str(cap_usd)}

        return await self._ordered(f"renew:{image_id}", cap_usd, place)

    async def find(self, order_id: str) -> Order:
        """Come back to an order, also to one of a process that was killed. Raises ToolFailed."""
        async with self._placing:
            if order_id in self._orders and not self._is_open_again(order_id):
                return self._orders[order_id]
            intent = await self._interrupted(order_id)
            if intent is None and await self._begun(order_id):
                raise ToolFailed("order_begun", "another agent is placing this order", _BEGINS)
            if intent is None:
                raise ToolFailed("order_unknown", "there is no such open order", _NO_ORDER)
            return self._start(intent, _FINISHED)

    async def open(self) -> list[str]:
        """The names of the orders that are not done."""
        return [one.order_id for one in await threads.run(self._desk.intents.all)]

    def _check_price(self, price_usd: Decimal, cap_usd: Decimal) -> None:
        """Raises OverLimit if the user's limit forbids it, OverCap if only the agent's does."""
        price, limit_usd = f"the price is {price_usd:f} USD", _per_payment_usd(self._desk.limits)
        if limit_usd is not None and price_usd > limit_usd:
            limit = f"{limit_usd.normalize():f}"
            raise errors.OverLimit(f"{price}, and the user's limit for one payment is {limit} USD")
        if price_usd > cap_usd:
            cap = f"{cap_usd.normalize():f}"
            raise errors.OverCap(f"{price}, and at most {cap} USD may be paid")

    async def _ordered(
        self,
        order_id: str,
        cap_usd: Decimal,
        place: Callable[[client.Client, str], Awaitable[purchases.Wish]],
    ) -> Order:
        async with self._placing:
            known = self._orders.get(order_id)
            if known is not None and not (known.task.done() and known.is_told):
                known.note = _JOINED
                return known
            if intent := await self._interrupted(order_id):
                return self._start(intent, _FINISHED)
            if intent := await self._begun(order_id):
                return self._start(intent.within(cap_usd), _BEGUN)
            once = secrets.token_urlsafe(24)
            await self._desk.key()
            async with self._desk.service() as service:
                wish = await place(service, once)
            intent = Intent(order_id=order_id, idempotency_key=once, wish=wish)
            return self._start(await threads.run(self._desk.intents.begin, intent), "")

    async def _interrupted(self, order_id: str) -> Intent | None:
        """The intent of an order that was paid before."""
        intent = await threads.run(self._desk.intents.find, order_id)
        if intent is None:
            return None
        once, url = intent.idempotency_key, self._desk.url
        path = purchases.path(intent.wish)
        sent = await threads.run(self._desk.book.sent_for, once, url, path)
        if sent is None:
            return None
        if sent.payer != await self._desk.payer():
            raise ToolFailed("other_wallet", f"{sent.payer} pays for {order_id}", _OTHER_WALLET)
        return intent

    async def _begun(self, order_id: str) -> Intent | None:
        """The intent of an order that was not paid yet, and may be any moment; others are dropped.

        Another process may be about to sign. To order the same by its key is to pay once.
        """
        intent = await threads.run(self._desk.intents.find, order_id)
        if intent and time.time() - intent.begun_at > _SIGNED_SECONDS:
            await threads.run(self._desk.intents.remove, intent)
            return None
        return intent

    def _is_open_again(self, order_id: str) -> bool:
        """Whether it ended here without an outcome, so that asking again may find one."""
        task = self._orders[order_id].task
        return task.done() and isinstance(_failure(task), errors.OutcomeUnknown)

    def _start(self, intent: Intent, note: str) -> Order:
        task = asyncio.create_task(self._bought(intent))
        task.add_done_callback(_failure)  # or Python would complain that nobody asked
        order = Order(order_id=intent.order_id, note=note, task=task)
        self._orders[intent.order_id] = order
        while len(self._orders) > _MOST_KEPT and (old := self._oldest_told()):
            del self._orders[old]
        return order

    def _oldest_told(self) -> str | None:
        told = (name for name, one in self._orders.items() if one.task.done() and one.is_told)
        return next(told, None)

    async def _bought(self, intent: Intent) -> Done:
        """Pay, or send an earlier payment again, and remove the intent once that is settled."""
        once = intent.idempotency_key
        async with self._desk.service() as service:
            service.cap_usd = Decimal(intent.wish["cap_usd"])
            key = await self._desk.key()
            buying = await purchases.prepared(service, key, once, intent.wish)
            try:
                answer: purchases.Answer = await paying.settled(buying, once)
            except errors.OutcomeUnknown:
                raise
            except client.ClientError:
                await self._close(intent)
                raise
            leases = _leases(answer)
            for one in leases:
                await self._desk.keep(one)
            await self._close(intent)
            paid = await self._desk.paid_usd(once, purchases.path(intent.wish))
            connected = await asyncio.gather(*(_connected(service, one) for one in leases))
            image = answer if isinstance(answer, schemas.SavedImageAnswer) else None
            return Done(leases=connected, image=image, paid_usd=paid)

    async def _close(self, intent: Intent) -> None:
        with contextlib.suppress(errors.NotesUnusable):  # asked again, it has the same outcome
            await threads.run(self._desk.intents.remove, intent)


_JOINED: Final = "This order was placed earlier. Nothing was ordered or paid again."
_FINISHED: Final = (
    "An earlier order of this name was interrupted. It was finished and not paid again."
)
_BEGUN: Final = "This order was already begun, perhaps by another agent. It is paid only once."
_BEGINS: Final = "Call again in some seconds."


def _failure(task: "asyncio.Task[Done]") -> BaseException | None:
    return None if task.cancelled() else task.exception()


async def _check_free(service: client.Client, *names: str) -> None:
    """Refuse a name that the user's lease has already: the order may have been repeated."""
    wanted = {name.lower() for name in names}
    taken = [one for one in await service.leases() if one.hostname.lower() in wanted]
    if taken:
        name, lease_id = texts.word(taken[0].hostname), texts.word(taken[0].lease_id)
        raise ToolFailed(
            "name_taken",
            f"there is a lease named {name} already: {lease_id}",
            f"{_TAKEN.get(taken[0].status, 'Use it')}, or choose another name for a second box.",
        )


def _copy_name(name: str, at: int) -> str:
    """The host name that the service gives to one of several copies."""
    return f"{name}-{at + 1}" if at else name


async def _lease_id(service: client.Client, name: str) -> str:
    """The leaseId of a lease, which names it in the order for as long as that is open."""
    lease_id = (await service.show(await client.names.resolve(service, name))).lease_id
    client.names.check_lease_id(lease_id)
    return lease_id


def _leases(answer: purchases.Answer) -> list[schemas.LeaseAnswer]:
    if isinstance(answer, schemas.SavedImageAnswer):
        return []
    others = answer.others if isinstance(answer, schemas.ForkAnswer) else []
    return [answer, *others[: MOST_COPIES - 1]]


async def _connected(service: client.Client, lease: schemas.LeaseAnswer) -> schemas.LeaseAnswer:
    """Wait for the network of a new box; it is handed over in any case, since it is paid."""
    if lease.network_status == "ready" or not client.names.is_lease_id(lease.lease_id):
        return lease
    seen: schemas.LeaseItem | None = None
    with contextlib.suppress(TimeoutError, errors.ClientError):
        async with asyncio.timeout(_NETWORK_SECONDS):
            while seen is None or seen.network_status == "pending":
                await asyncio.sleep(_LOOK_SECONDS if seen else 0)
                seen = await service.show(lease.lease_id)
    if seen is None:
        return lease
    changed = {"network_status": seen.network_status, "addresses": seen.addresses}
    return lease.model_copy(update=changed)


def cap_usd(max_usd: float | None, limits: spending.Limits) -> Decimal:
    """The most that an order may cost: what the agent says, within the user's limit."""
    caps = [] if max_usd is None else [Decimal(repr(max_usd))]
    limit_usd = _per_payment_usd(limits)
    if limit_usd is not None:
        caps.append(limit_usd)
    return min(caps, default=client.DEFAULT_CAP_USD)


def _per_payment_usd(limits: spending.Limits) -> Decimal | None:
    """The user's limit for one payment."""
    limit = limits.per_call_micro_usd
    return None if limit is None else Decimal(limit).scaleb(-6)
