"""Private images: what a box leaves behind for its wallet, to lease others from."""

import secrets
from decimal import Decimal
from typing import Final

from pve402 import client, schemas
from pve402.sdk import facts, paying

_MAX_USD: Final = "1.00"


class AsyncImages:
    """The private images of a wallet; all but `save` is about any of them.

    A box is leased from one with `template=image.template`.
    """

    def __init__(self, service: client.Client, lease_id: str) -> None:
        self._service = service
        self._lease_id = lease_id

    async def save(
        self,
        name: str,
        *,
        minutes: int,
        snapshot: str | None = None,
        max_usd: Decimal | str = _MAX_USD,
        idempotency_key: str | None = None,
    ) -> schemas.SavedImageAnswer:
        """Save the box, which must be stopped, or a snapshot of it, for at most `max_usd`.

        It outlives the box. Raises OverCap, KeyNeeded, Refused by its class, ServiceUnreachable,
        and OutcomeUnknown if it may be paid all the same: then repeat the call with the key.
        """
        once, most = idempotency_key or secrets.token_urlsafe(24), paying.usd(max_usd)
        return await paying.settled(
            lambda so_far: client.private_images.save(
                self._service,
                self._lease_id,
                name,
                minutes=minutes,
                snapshot=snapshot,
                idempotency_key=once,
                on_progress=so_far.note_sent,
                cap_usd=most,
            ),
            once,
        )

    async def renew(
        self,
        image_id: str,
        minutes: int,
        *,
        max_usd: Decimal | str = _MAX_USD,
        idempotency_key: str | None = None,
    ) -> schemas.SavedImageAnswer:
        """Keep an image longer. Raises as `save`."""
        once, most = idempotency_key or secrets.token_urlsafe(24), paying.usd(max_usd)
        return await paying.settled(
            lambda so_far: client.private_images.renew(
                self._service,
                image_id,
                minutes,
                idempotency_key=once,
                on_progress=so_far.note_sent,
                cap_usd=most,
            ),
            once,
        )

    async def show(self) -> schemas.PrivateImagesAnswer:
        """The wallet's images. Raises KeyNeeded, Refused, ServiceUnreachable."""
        return await client.private_images.show_all(self._service)

    async def delete(self, image_id: str) -> None:
        """Delete an image; boxes that were made from it stay. Raises as `show`."""
        await client.private_images.delete(self._service, image_id)


class WithImages(facts.Facts):
    """What can be saved."""

    _service: client.Client

    @property
    def images(self) -> AsyncImages:
        """What its wallet saved, and saves of it."""
        return AsyncImages(self._service, self.lease_id)
