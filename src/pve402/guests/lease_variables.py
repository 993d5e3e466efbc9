"""Finds the variables that a tenant gave a lease, for the hub to set in its guest."""

import json
from collections.abc import Mapping

import structlog

from pve402.guests import guest_work
from pve402.hub import errors as hub_errors
from pve402.proxmox.guests import GuestRef
from pve402.storage import database, environment_rows, vault

log = structlog.get_logger(__name__)


class LeaseVariables:
    """Reads and unseals them."""

    def __init__(self, db: database.Database, secret_vault: vault.Vault) -> None:
        self._db = db
        self._vault = secret_vault

    async def of(self, guest: GuestRef) -> Mapping[str, str]:
        """Return the variables of a leased guest; none of any other.

        Raises DatabaseUnavailable, SessionFailed.
        """
        if not isinstance(guest, guest_work.LeasedGuest):
            return {}
        async with self._db.read() as tx:
            found = await environment_rows.of_lease(tx, guest.lease_id)
        if found is None:
            return {}
        order_id, sealed = found
        kept: dict[str, str] = json.loads(self._unsealed(order_id, sealed))
        return kept

    def _unsealed(self, order_id: str, sealed: bytes) -> bytes:
        try:
            return self._vault.unseal(sealed, environment_rows.bound_to(order_id))
        except vault.SealBrokenError as error:
            log.exception("variables_not_opened", order=order_id)
            raise hub_errors.SessionFailed("the lease's variables cannot be read") from error
