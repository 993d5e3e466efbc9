"""What is owed to a wallet, and the leases that it gets for it."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta

from pve402.domain import account, errors, making, order, owed, price, private_images, request
from pve402.leases import options, outcome, purchases, redemptions, service
from pve402.leases.service import Caller
from pve402.payments import networks
from pve402.storage import owed_rows

_NOT_A_WALLET = "This token is of one lease; sign in with the wallet that paid."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undelivered:
    """A paid order whose container is still being tried."""

    order: order.Order
    until: datetime  # when it becomes a debt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holding:
    """Everything of a wallet's that we hold and have not served."""

    debts: Sequence[owed.Owed]
    undelivered: Sequence[Undelivered]


class Redeeming:
    """Lists debts and redeems them."""

    def __init__(self, parts: service.Parts, accepting: redemptions.Redemptions) -> None:
        self._db = parts.db
        self._on_sale = parts.on_sale
        self._settings = parts.settings
        self._view = parts.view
        self._rules = parts.rules
        self._firewalls = parts.firewalls
        self._redemptions = accepting
        self._worker = parts.lease_worker
        self._outcomes = parts.outcomes
        self._vault = parts.secret_vault

    async def list_of(self, caller: Caller) -> Holding:
        """Return what is owed to a wallet. Raises NotAllowed for a token of one lease."""
        if caller.lease_id is not None:
            raise errors.NotAllowed(_NOT_A_WALLET)
        payer = account.address_of(caller.owner)
        async with self._db.read() as tx:
            debts = await owed_rows.list_open(tx, payer)
            undelivered = await owed_rows.list_undelivered(tx, payer)
        theirs = [row for row in undelivered if _is_of(caller, row)]
        return Holding(
            debts=[debt for debt in debts if _is_of(caller, debt)],
            undelivered=undelivered_of(theirs, self._settings),
        )

    async def redeem(
        self,
        caller: Caller,
        owed_id: str,
        asked: request.CreationRequest,
        *,
        idempotency_key: str | None,
        client_address: str | None,
        wait_seconds: float,
    ) -> outcome.Answer:
        """Lease a container for a part of what is owed; the rest stays owed.

        The same request joins the redemption in progress. Raises NotAllowed, OwedNotFound,
        OwedBusy, OwedTooLittle, NoCapacity, IsolationUnavailable, LimitReached, WalletBlocked,
        DeliveryPending.
        """
        await self._rules.check(client_address, account.address_of(caller.owner))
        debt = await self._find(caller, owed_id)
        taken = await self._redemptions.find(debt, idempotency_key, asked)
        if taken is None:
            selling = self._on_sale.now
            sku = asked.check(selling)
            if private_images.chosen(asked.template) is not None:
                raise private_images.ImageNeedsKey
            usd = sku.price_usd(asked.size, asked.minutes)
            atomic = price.atomic_units(usd, networks.BY_CAIP2[debt.network].decimals)
            redemptions.check_redeemable(debt, atomic)
            how = making.of_sku(selling, sku)
            self._firewalls.check(how.network)
            template = sku.template_volume(asked.template, self._settings.default_template)
            buyer = purchases.Redeemer(
                owner=account.account(debt.network, debt.payer),
                by_key=caller.by_key,
                client_address=client_address,
            )
            rooms = await self._view.rooms_for(template)
            taken = await self._redemptions.take(
                asked,
                sku,
                how,
                debt,
                atomic,
                rooms,
                idempotency_key=idempotency_key,
                buyer=buyer,
            )
            if taken.new:
                self._worker.begin(taken.order)
        row = await self._outcomes.closed(taken.order, wait_seconds, is_fresh=taken.new)
        return outcome.Answer(
            lease=await self._outcomes.lease_of(row),
            order=row,
            access_token=None if row.is_open else self._vault.lease_token(row.order_id),
        )

    async def _find(self, caller: Caller, owed_id: str) -> owed.Owed:
        if caller.lease_id is not None:
            raise errors.NotAllowed(_NOT_A_WALLET)
        if not owed.is_owed_id(owed_id):
            raise errors.OwedNotFound
        async with self._db.read() as tx:
            found = await owed_rows.get(tx, owed_id)
        if found is None or not _is_of(caller, found):
            raise errors.OwedNotFound
        return found


def undelivered_of(
    rows: Sequence[order.Order], settings: options.LeaseOptions
) -> list[Undelivered]:
    """Return paid orders with the time at which they become debts."""
    limit = timedelta(seconds=settings.deliver_seconds)
    return [
        Undelivered(order=row, until=row.settled_at + limit)
        for row in rows
        if row.settled_at is not None
    ]


def _is_of(caller: Caller, paid: owed.Owed | order.Order) -> bool:
    """Return whether the caller's wallet paid; a key is the same on every chain."""
    payer = account.account(paid.network, paid.payer)
    return account.is_same(caller.owner, payer, any_chain=caller.by_key)
