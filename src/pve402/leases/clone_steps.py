"""The steps of a creation that makes its guest as a clone, of a prepared image or as a fork."""

import asyncio
import functools
from datetime import datetime

from pve402.domain import order
from pve402.leases import (
    clones,
    deals,
    failing,
    fork_steps,
    moves,
    origins,
    warm_guests,
    workflow,
)
from pve402.proxmox import errors as pve

_TRIES = 8
_PATIENCE_SECONDS = 20.0  # to make SSH host keys takes seconds


class CloneSteps:
    """Runs clones for orders; holds no state between steps."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        cloning: clones.Clones,
        failures: failing.Failures,
        rekeying: warm_guests.Rekeying,
        private: origins.Origin,
        forking: fork_steps.ForkSteps,
    ) -> None:
        """Keep the parts; `private` are the private images that leases are made from."""
        self._private = private
        self._forks = forking
        self._rekeying = rekeying
        self._deals = deal_writer
        self._clones = cloning
        self._failures = failures

    async def make(self, deal: deals.Deal, planned_expiry: datetime) -> deals.Deal | None:
        """Return the deal once its guest is whole; None if it is to be unpacked.

        A guest that is paid before it starts is handed over without being re-keyed, so it is never
        a clone: neither a contract's, nor one that is made anew. A fork's always is, and a lease
        from a private image is always a copy of it.

        Raises RetryLater, GiveUp, ForeignError.
        """
        is_copy = deal.lease.is_copy
        if not is_copy and (deal.order.settles_first or deal.order.is_paid):
            return None
        origin = await self._origin_of(deal)
        moved = deals.Moving(self._deals, deal)
        try:
            row = await self._clones.make(deal.lease, planned_expiry, moved.move, origin)
        except workflow.RetryLater:
            await self._failures.check_time(moved.deal)
            raise
        except pve.ProxmoxError as error:
            raise await self._failures.passing_or_final(
                moved.deal, error, "create_failed"
            ) from error
        if row is None and is_copy:
            raise workflow.GiveUp("create_failed", "what it is a copy of cannot be copied now")
        if row is None:
            return None
        whole = functools.partial(moves.finish_clone, self._deals.db)
        status = None if deal.order.is_paid else order.OrderStatus.WORKING
        return await self._deals.advance(moved.deal, whole, order_status=status)

    async def _origin_of(self, deal: deals.Deal) -> origins.Origin | None:
        """Return what a copy is made from; None: a prepared image."""
        if deal.lease.forked_from is not None:
            return await self._forks.origin_of(deal)
        return self._private if deal.lease.is_copy else None

    async def check(self, deal: deals.Deal) -> None:
        """Before money moves, check that a clone could be given its tenant's secrets.

        It gets SSH host keys of its own on the way.

        If its payment buys other leases, they have to be as far. Raises RetryLater while it
        cannot; later it is given up, and its image left alone.
        """
        if deal.lease.pooled_at is None or deal.lease.base is None:
            return
        await self._check_shell(deal)
        await self._forks.parts.await_others(deal.order)

    async def _check_shell(self, deal: deals.Deal) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._rekeying.check(deal.lease)
        except (warm_guests.NotReady, TimeoutError) as error:
            reason = f"its shell is not ready: {workflow.reason_of(error)}"
            if deal.order.attempts < _TRIES:
                raise workflow.RetryLater(reason) from error
            self._clones.images.leave_alone(deal.lease.base, deal.lease.node)
            fault = pve.ProxmoxFault(reason)
            raise await self._failures.passing_or_final(deal, fault, "start_failed") from error
