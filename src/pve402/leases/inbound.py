"""Lets a tenant say what reaches the guest of an isolated network from outside.

The choice is recorded on the lease, and the worker writes it into the guest's rules. It holds
within ten seconds of that; open connections go on until the guest stops.
"""

from collections.abc import Sequence

from pve402.domain import errors, inbound, lease, networks
from pve402.leases import moves, on_sale, worker
from pve402.leases.alterations import power
from pve402.storage import database, queue


class InboundRules:
    """Records what tenants let in."""

    def __init__(
        self,
        db: database.Database,
        selling: on_sale.OnSale,
        lease_worker: worker.Worker,
    ) -> None:
        self._db = db
        self._on_sale = selling
        self._worker = lease_worker

    def check(self, row: lease.Lease) -> None:
        """Raise the error that `let_in` would get now, before asking for payment.

        Raises InboundFixed, and the errors of `power.check_running_time`.
        """
        inbound.check_offered(self._network(row))
        if row.link is networks.Link.READY and row.rules_at is None:
            raise errors.InboundFixed
        power.check_running_time(row)

    async def let_in(
        self, row: lease.Lease, openings: Sequence[inbound.Opening] | None
    ) -> lease.Lease:
        """Record a choice, None for the network's own; waits a few seconds until it is written.

        Raises LeaseBusy, and the errors of `check`.
        """
        self.check(row)
        try:
            async with self._db.single() as tx:
                moved = await moves.want_inbound(self._db, tx, row, openings)
        except queue.FenceLostError:
            raise errors.LeaseBusy from None
        if moved.link is networks.Link.PENDING:  # written before its card is switched on
            self._worker.wake()
            return moved
        return await power.applied(self._db, self._worker, moved)

    def is_open(self, row: lease.Lease) -> bool:
        """Return whether everybody reaches the guest, as far as its rules go."""
        network = self._network(row)
        return network is None or inbound.is_open(network, row.openings)

    def of(self, row: lease.Lease) -> Sequence[inbound.Opening]:
        """Return what reaches the guest if not everybody does."""
        network = self._network(row)
        return () if network is None else inbound.let_in(network, row.openings)

    def _network(self, row: lease.Lease) -> networks.NetworkProfile | None:
        return self._on_sale.isolation_of(row)
