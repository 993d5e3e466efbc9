"""Finds the variables of a lease's commands, for the hub to set in its guest.

Those that its tenant gave come after those of its OCI image, which Proxmox VE keeps in the guest's
configuration and gives to the first program alone.
"""

import json
from collections.abc import Mapping

import structlog

from pve402.domain import oci, variables
from pve402.guests import guest_work
from pve402.hub import errors as hub_errors
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox.guests import GuestRef
from pve402.storage import database, environment_rows, lease_rows, vault

log = structlog.get_logger(__name__)


class LeaseVariables:
    """Reads and unseals them."""

    def __init__(
        self, db: database.Database, secret_vault: vault.Vault, guests: pve_guests.Guests
    ) -> None:
        self._db = db
        self._vault = secret_vault
        self._guests = guests

    async def of(self, guest: GuestRef) -> Mapping[str, str]:
        """Return the variables of a leased guest; none of any other.

        Raises DatabaseUnavailable, SessionFailed.
        """
        if not isinstance(guest, guest_work.LeasedGuest):
            return {}
        async with self._db.read() as tx:
            found = await environment_rows.of_lease(tx, guest.lease_id)
            template = await lease_rows.template_of(tx, guest.lease_id)
        of_image = await self._of_image(guest) if oci.is_file(template) else {}
        if found is None:
            return of_image
        order_id, sealed = found
        kept: dict[str, str] = json.loads(self._unsealed(order_id, sealed))
        return {**of_image, **kept}

    async def _of_image(self, guest: GuestRef) -> Mapping[str, str]:
        """Return the variables of a guest's image that every shell can set.

        Raises SessionFailed while Proxmox VE does not tell.
        """
        try:
            config = await self._guests.config(guest)
        except pve.ProxmoxError as error:
            raise hub_errors.SessionFailed("the image's variables cannot be read") from error
        return variables.usable(config.environment)

    def _unsealed(self, order_id: str, sealed: bytes) -> bytes:
        try:
            return self._vault.unseal(sealed, environment_rows.bound_to(order_id))
        except vault.SealBrokenError as error:
            log.exception("variables_not_opened", order=order_id)
            raise hub_errors.SessionFailed("the lease's variables cannot be read") from error
