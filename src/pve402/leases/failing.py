"""What a failure means to a creation: it is tried again, here or on another node, or given up.

    what Proxmox says                          an unpaid creation
    the node lacks something                   goes elsewhere; the place is left out for minutes
    it refuses for a reason of its own         goes elsewhere, to a few places in all
    its node cannot be reached, unasked yet    goes elsewhere
    a passing failure                          is tried again while there is time
    our rights or parameters are wrong         is given up, since they are the same everywhere

It only leaves a place where nothing was made, or where what was made is gone again. A paid one is
made anew, wherever that is possible (pve402.leases.anew). A copy stays beside its source.
"""

from datetime import datetime, timedelta

from pve402.domain import order
from pve402.leases import anew, cluster, deals, options, workflow
from pve402.proxmox import errors as pve

_NO_ROUTE = 595  # the API daemon that we asked found no way to the node's own


class Failures:
    """Decides for the steps of a creation; where it has been is known to `anew`."""

    def __init__(
        self, deal_writer: deals.Deals, again: anew.Anew, settings: options.LeaseOptions
    ) -> None:
        self._deals = deal_writer
        self._anew = again
        self._settings = settings

    async def passing_or_final(
        self, deal: deals.Deal, error: pve.ProxmoxError, refusal: str
    ) -> Exception:
        """Turn a failure of Proxmox into RetryLater, here or elsewhere, or into GiveUp."""
        reason = workflow.reason_of(error)
        is_lacking = isinstance(error, cluster.NOT_HERE)
        if is_lacking and deal.lease.forked_from is None:
            self._anew.note_unfit(deal)
        may_go = not deal.order.is_paid and not deal.lease.is_copy  # one stays beside its source
        if may_go and (is_lacking or _is_of_node(deal, error)):
            return await self._anew.elsewhere(deal, refusal, reason)
        if not isinstance(error, workflow.TRANSIENT):
            return workflow.GiveUp(refusal, reason)
        await self.check_time(deal)
        return workflow.RetryLater(reason)

    async def check_time(self, deal: deals.Deal) -> None:
        """Give up a creation that took too long, or whose payment could not be settled in time.

        A paid one is then made anew.
        """
        if deal.order.is_paid:
            if await self._anew.is_too_long(deal):
                raise workflow.GiveUp("create_failed", "the paid container did not come up in time")
            return
        late = workflow.GiveUp("creation_timed_out", "the creation took too long")
        check_unpaid_time(deal.order, await self._deals.db.time(), self._settings, late)

    async def make_anew(self, deal: deals.Deal, reason: str) -> None:
        """Start a paid lease over; always raises RetryLater."""
        await self._anew.make(deal, reason)


def check_unpaid_time(
    row: order.Order, now: datetime, settings: options.LeaseOptions, late: workflow.GiveUp
) -> None:
    """Raise `late` for an order that takes too long, GiveUp if it could not be settled in time."""
    if now > row.created_at + timedelta(seconds=settings.creation_limit_seconds):
        raise late
    if now > row.valid_before - timedelta(seconds=settings.settle_margin_seconds):
        raise workflow.GiveUp("payment_expired", "the payment's window ends before settlement")


def _is_of_node(deal: deals.Deal, error: pve.ProxmoxError) -> bool:
    """Whether another node may do what this one did not."""
    if isinstance(error, pve.Unreachable):
        return error.status == _NO_ROUTE and not anew.was_asked_for(deal.lease)
    refused = isinstance(error, pve.ProxmoxFault) and not isinstance(error, pve.UnexpectedAnswer)
    return refused or isinstance(error, pve.NodeUnknown)
