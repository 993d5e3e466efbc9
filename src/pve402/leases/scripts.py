"""What tenants see of the scripts that came with their leases."""

import dataclasses

import structlog

from pve402.domain import errors, lease, user_data
from pve402.leases import views
from pve402.storage import database, user_data_rows, vault

log = structlog.get_logger(__name__)


class Scripts:
    """Reads how far they are, and their output."""

    def __init__(self, db: database.Database, secret_vault: vault.Vault) -> None:
        self._db = db
        self._vault = secret_vault

    async def seen(self, view: views.LeaseView) -> views.LeaseView:
        """Return a view with how far the lease's script is, if it came with one."""
        if not view.lease.metadata.get("userData"):
            return view
        found = await self._asked(view.lease.lease_id)
        return dataclasses.replace(view, script=found)

    async def outcome(self, row: lease.Lease) -> tuple[user_data.UserData, bytes]:
        """Return how far a lease's script is, and the end of its output, empty until it ended.

        If another key sealed the output, it is lost; the reason says so. Raises UserDataMissing.
        """
        found = await self._asked(row.lease_id)
        if found is None:
            raise errors.UserDataMissing
        if found.sealed_output is None:
            return found, b""
        bound = user_data_rows.bound_to(found.order_id, "output")
        try:
            return found, self._vault.unseal(found.sealed_output, bound)
        except vault.SealBrokenError:
            log.warning("user_data_output_not_opened", order=found.order_id)
            return dataclasses.replace(found, reason=user_data.UNREADABLE, truncated=True), b""

    async def _asked(self, lease_id: str) -> user_data.UserData | None:
        """Return a lease's script, and have it looked at soon, as somebody asked about it."""
        async with self._db.read() as tx:
            found = await user_data_rows.of_lease(tx, lease_id)
            if found is None or found.due_at is None or found.fence is not None:
                return found
            now = await self._db.time_in(tx)
        if (found.due_at - now).total_seconds() > user_data_rows.SOON_SECONDS:
            async with self._db.single() as tx:
                await user_data_rows.look_soon(self._db, tx, found.order_id)
        return found
