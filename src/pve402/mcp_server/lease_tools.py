"""Tools for leases: catalogue, quote, lease, renew, list, publish a port, end."""

import re
from typing import Annotated, Final

from pydantic import Field

from pve402 import client, schemas
from pve402.client import errors
from pve402.mcp_server import answers, orders, showing, texts
from pve402.mcp_server.arguments import (
    PRIVATE,
    Cores,
    DiskGb,
    Env,
    MaxUsd,
    MemoryMb,
    Minutes,
    Name,
    NewName,
    UserData,
)
from pve402.mcp_server.desk import Desk
from pve402.sdk import wishes

_MOST_SKUS: Final = 20
_MOST_IMAGES: Final = 20
_MOST_LEASES: Final = 50
_WEB: Final = re.compile(r"https?://[\x21-\x7e]{1,500}")

Sku = Annotated[
    str | None, Field(description="From `catalogue`; by default the first.", max_length=255)
]
Port = Annotated[
    int, Field(description="A port that a program in the box listens on.", ge=1, le=65535)
]


class LeaseTools:
    """What agents do with leases."""

    def __init__(self, desk: Desk, placed: orders.Orders) -> None:
        self._desk = desk
        self._orders = placed

    async def catalogue(self) -> answers.Catalogue:
        """Show what boxes (Linux containers) can be rented, their sizes and prices. Free."""
        async with self._desk.service() as service:
            found = await service.catalogue()
        return answers.Catalogue(
            service=self._desk.url,
            sold=[_sold(sku, found) for sku in found.skus[:_MOST_SKUS]],
            images=[_image(one) for one in found.images[:_MOST_IMAGES]],
            images_left_out=max(0, len(found.images) - _MOST_IMAGES),
            networks=[texts.word(each.network) for each in found.networks[: showing.MOST_WORDS]],
            left_out=max(0, len(found.skus) - _MOST_SKUS),
            next="`quote` gives an exact price, `lease` rents.",
        )

    async def quote(
        self,
        minutes: Minutes,
        sku: Sku = None,
        cores: Cores = None,
        memory_mb: MemoryMb = None,
        disk_gb: DiskGb = None,
        renew: Annotated[
            str | None, Field(description="A lease to price more minutes of.", max_length=253)
        ] = None,
    ) -> answers.Price:
        """Give the exact price in USD of a new lease, or of more time for one. Free."""
        async with self._desk.service() as service:
            if renew is not None:
                found = (await service.show(await client.names.resolve(service, renew))).lease_id
                wish = wishes.checked(
                    schemas.RenewalQuoteRequest, ctid=found, runtime_minutes=minutes
                )
                priced = await service.quote(wish)
            else:
                asked = await wishes.lease(
                    service,
                    None,
                    "quote",
                    sku=sku,
                    runtime_minutes=minutes,
                    cores=cores,
                    memory_mb=memory_mb,
                    disk_gb=disk_gb,
                    hostname="quote",
                    password=None,
                    ssh_public_keys=[],
                )
                priced = await service.quote(asked)
        return answers.Price(
            price_usd=f"{client.prices.offered_usd(priced):f}",
            minutes=priced.runtime_minutes,
            sku=texts.word(priced.sku),
            cores=priced.cores,
            memory_mb=priced.memory_mb,
            disk_gb=priced.disk_gb,
            available=priced.available,
            next="`renew` buys the time." if renew else "`lease` rents it.",
        )

    async def lease(  # noqa: PLR0913 -- one parameter each
        self,
        *,
        name: NewName,
        minutes: Minutes,
        max_usd: MaxUsd = None,
        sku: Sku = None,
        cores: Cores = None,
        memory_mb: MemoryMb = None,
        disk_gb: DiskGb = None,
        template: Annotated[
            str | None,
            Field(
                description="One of the sku's templates, by default the first, or the"
                f" `{PRIVATE}...` of `list_images`.",
                max_length=255,
            ),
        ] = None,
        env: Env = None,
        user_data: UserData = None,
        idle_pause_minutes: Annotated[
            int | None,
            Field(
                description="Pause it after so many idle minutes, where the sku allows that, so"
                " that its time lasts longer. `run` wakes it.",
                ge=5,
                le=1440,
            ),
        ] = None,
    ) -> answers.Bought:
        """Rent a box for some minutes and pay for it with the user's wallet, in USDC.

        You are root in it. Nothing is refunded; unused time is lost. The box ends by itself when
        its time is over, unless `renew` buys more. Takes seconds, and answers with `in_progress`
        and an order_id if it takes longer. What is left open is the first sku in its usual size.
        """
        placed = await self._orders.lease(
            name,
            orders.cap_usd(max_usd, self._desk.limits),
            sku=sku,
            runtime_minutes=minutes,
            cores=cores,
            memory_mb=memory_mb,
            disk_gb=disk_gb,
            template=template,
            env=env or None,
            user_data=user_data,
            idle_pause_minutes=idle_pause_minutes,
            wake_on=None if idle_pause_minutes is None else ["command", "port"],
            ssh_public_keys=[],
        )
        return await showing.order(placed, orders.WAIT_SECONDS)

    async def renew(
        self,
        lease: Annotated[
            str,
            Field(
                description="Its name, lease_id or ctid; of a private image its template.",
                min_length=1,
                max_length=253,
            ),
        ],
        minutes: Minutes,
        max_usd: MaxUsd = None,
    ) -> answers.Bought:
        """Buy more minutes for a lease or a private image with the user's wallet.

        They are added to its paid time.
        """
        placed = await self._orders.renew(
            lease, minutes, orders.cap_usd(max_usd, self._desk.limits)
        )
        return await showing.order(placed, orders.WAIT_SECONDS)

    async def check_order(
        self,
        order_id: Annotated[
            str, Field(description="From what placed it, or `list_leases`.", max_length=300)
        ],
        wait_seconds: Annotated[
            int, Field(description="How long to wait for its end.", ge=0, le=38)
        ] = 30,
    ) -> answers.Bought:
        """See how an order stands that was in progress, or whose outcome was not known. Free.

        It never pays again: an order that was interrupted is asked for with the same payment.
        """
        return await showing.order(await self._orders.find(order_id), wait_seconds)

    async def list_leases(self) -> answers.Leases:
        """List the user's leases that are not over, also those of earlier sessions. Free."""
        await self._desk.key()
        async with self._desk.service() as service:
            found = await _leases(service)
            now = service.now()
        going = await self._orders.open()
        following = showing.READY_TO_USE if found else "`lease` rents a box."
        return answers.Leases(
            leases=[showing.lease(one, now) for one in found[:_MOST_LEASES]],
            left_out=max(0, len(found) - _MOST_LEASES),
            open_orders=going,
            next=f"`check_order` waits for an open order. {following}" if going else following,
        )

    async def publish(
        self,
        lease: Name,
        port: Port,
        public: Annotated[
            bool,
            Field(
                description="True: for everybody on the web. False: only for the user, by login."
            ),
        ] = False,
    ) -> answers.Published:
        """Give a port of a box an https address on the web, for HTTP and websockets."""
        access = "public" if public else "private"
        wish = wishes.checked(schemas.PortRequest, port=port, access=access)
        async with self._desk.box(lease) as (service, found):
            made = await client.ports.publish(service, found, wish)
        if not _WEB.fullmatch(made.url):
            raise errors.UnexpectedAnswer("the service's address of the port is not one of the web")
        return answers.Published(
            url=made.url,
            port=made.port,
            access=made.access,
            expires_at=showing.moment(made.expires_at),
            next="Anybody who knows the address can use it; `unpublish` takes it back."
            if public
            else f"The user opens it by `pve402 ports {errors.plain(lease, 64)} --login {port}`.",
        )

    async def unpublish(self, lease: Name, port: Port) -> answers.Unpublished:
        """Take a port of a box off the web."""
        async with self._desk.box(lease) as (service, found):
            await client.ports.unpublish(service, found, port)
        return answers.Unpublished(port=port)

    async def end(self, lease: Name) -> answers.Ended:
        """End a lease now and destroy its box with all that is in it. Nothing is refunded.

        Bring home what you need before, with `read_file`.
        """
        async with self._desk.box(lease) as (service, found):
            ended = await service.end(found)
        await self._desk.forget(ended.lease_id)
        return answers.Ended(lease_id=texts.word(ended.lease_id), status=ended.status)


async def _leases(service: client.Client) -> list[schemas.LeaseItem]:
    """The wallet's leases; without a wallet, those that this machine has tokens of."""
    if service.can_sign_in or not service.held:
        return await service.leases()
    found = []
    for one in service.held[:_MOST_LEASES]:
        try:
            found.append(await service.show(one.lease_id))
        except client.Refused:  # its token opens nothing any more
            continue
    return [one for one in found if one.status not in client.names.OVER]


def _sold(sku: schemas.SkuItem, found: schemas.CatalogueAnswer) -> answers.Sold:
    hourly = [texts.word(price.hour_usd) for price in sku.prices[:2]] or [""]
    profile = next((one for one in found.network_profiles if one.name == sku.network_profile), None)
    return answers.Sold(
        sku=texts.word(sku.sku),
        from_service=errors.told(sku.description, 300),
        cores=_range(sku.cores),
        memory_mb=_range(sku.memory_mb),
        disk_gb=_range(sku.disk_gb),
        minutes=_range(sku.runtime_minutes),
        smallest_usd_an_hour=hourly[0],
        largest_usd_an_hour=hourly[-1],
        paused_usd_minute=_rate(sku.paused_usd_minute),
        snapshot_gb_usd_minute=_rate(sku.snapshot_gb_usd_minute),
        image_gb_usd_minute=_rate(sku.image_gb_usd_minute),
        templates=[texts.word(one) for one in sku.templates[: showing.MOST_WORDS]],
        templates_left_out=max(0, len(sku.templates) - showing.MOST_WORDS),
        network="" if profile is None else f"out: {profile.egress}, in: {profile.inbound}",
    )


def _image(one: schemas.Image) -> answers.SoldImage:
    return answers.SoldImage(
        name=texts.word(one.name),
        os_from_service=errors.told(one.os, 60),
        tag=None if one.tag is None else texts.word(one.tag),
        updated_at=showing.moment(one.updated_at),
    )


def _rate(usd: str | None) -> str | None:
    return None if usd is None else texts.word(usd)


def _range(bounds: schemas.Bounds) -> str:
    return f"{bounds.min} to {bounds.max}"
