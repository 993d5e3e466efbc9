"""Tools for copies of a box: forks, and private images to lease others from."""

from typing import Annotated, Final

from pydantic import Field

from pve402 import client
from pve402.mcp_server import answers, orders, showing
from pve402.mcp_server.arguments import PRIVATE, MaxUsd, Minutes, Name, NewName
from pve402.mcp_server.desk import Desk

_MOST: Final = 50

Source = Annotated[
    str | None, Field(description="A snapshot of it to copy, not its disk of now.", max_length=40)
]
NewImage = Annotated[
    str,
    Field(
        description="A letter, then small letters, digits and -. The same name again is the same"
        " order.",
        pattern=r"^[a-z][a-z0-9-]{0,38}[a-z0-9]$",
    ),
]
ImageName = Annotated[str, Field(description="Its name or template.", min_length=1, max_length=64)]


class CopyTools:
    """What agents do to have a box again."""

    def __init__(self, desk: Desk, placed: orders.Orders) -> None:
        self._desk = desk
        self._orders = placed

    async def fork(
        self,
        *,
        lease: Name,
        name: NewName,
        minutes: Minutes,
        count: Annotated[
            int, Field(description="How many; the others are called -2, -3 ...", ge=1, le=10)
        ] = 1,
        snapshot: Source = None,
        max_usd: MaxUsd = None,
    ) -> answers.Bought:
        """Lease copies of a box, each with its disk and size, and pay for all at once.

        Each costs what a new lease of this size does, and starts as after a power cut. `env`,
        published ports and snapshots are not copied.
        """
        cap_usd = orders.cap_usd(max_usd, self._desk.limits)
        placed = await self._orders.fork(
            lease, name, cap_usd, runtime_minutes=minutes, count=count, snapshot=snapshot
        )
        return await showing.order(placed, orders.WAIT_SECONDS)

    async def save_image(
        self,
        *,
        lease: Name,
        name: NewImage,
        minutes: Annotated[
            int, Field(description="Minutes to keep it.", ge=60, le=1_000_000)
        ] = 1440,
        snapshot: Source = None,
        max_usd: MaxUsd = None,
    ) -> answers.Bought:
        """Save a box's disk as a private image of the user's wallet, and pay for keeping it.

        It outlives the box, and `lease` makes others from it. Stop the box first (`power`), or
        name a snapshot. Some hours after its time it is deleted, unless `renew` buys more.
        """
        cap_usd = orders.cap_usd(max_usd, self._desk.limits)
        placed = await self._orders.save(lease, name, minutes, cap_usd, snapshot=snapshot)
        return await showing.order(placed, orders.WAIT_SECONDS)

    async def list_images(self) -> answers.Images:
        """List the private images of the user's wallet. Free."""
        await self._desk.key()
        async with self._desk.service() as service:
            found = await client.private_images.show_all(service)
        return answers.Images(
            images=[showing.image(one) for one in found.images[:_MOST]],
            left_out=max(0, len(found.images) - _MOST),
            at_most=found.at_most,
            next=showing.lease_from(found.images[0]) if found.images else "",
        )

    async def delete_image(self, image: ImageName) -> answers.DeletedImage:
        """Delete a private image. Boxes that were made from it stay; nothing is refunded."""
        await self._desk.key()
        async with self._desk.service() as service:
            found = await client.private_images.find(service, image.removeprefix(PRIVATE))
            gone = await client.private_images.delete(service, found.image_id)
        return answers.DeletedImage(image=showing.image(gone))
