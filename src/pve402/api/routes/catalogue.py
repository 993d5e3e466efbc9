"""The catalogue: what is on sale and how to pay for it."""

import functools
from collections.abc import Collection

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import context
from pve402.api.messages import prices, reply
from pve402.api.openapi import operations
from pve402.api.transport import routing
from pve402.domain import catalogue, image_tables
from pve402.proxmox import storage

_Images = tuple[tuple[image_tables.Image, storage.Template | None], ...]
router = routing.Router("catalogue")


@router.get("/catalogue", **operations.free(schemas.CatalogueAnswer))
async def show_catalogue(request: Request) -> Response:
    """Show every sku with its bounds and rates, images, the management fee, accepted networks."""
    app = context.of(request)
    return _answer(app, app.leases.prices.version, app.leases.images())


@functools.lru_cache(maxsize=8)
def _answer(app: context.Context, version: int, images: _Images) -> Response:
    """Build the answer once for each version of the catalogue, and when an image's file changed."""
    on_sale = app.leases.catalogue
    choosable = {named.name for named, _ in images}
    fee = app.gate.price(on_sale.management_fee_usd, "/management/list", "Management fee")
    answer = schemas.CatalogueAnswer(
        skus=[_item(on_sale, sku, choosable) for sku in on_sale.skus.values()],
        management_fee_usd=prices.usd(on_sale.management_fee_usd),
        networks=[prices.network(terms) for terms in fee.offers],
        images=[prices.image(named, file) for named, file in images],
        network_profiles=[prices.profile(one) for one in on_sale.networks_on_sale.values()],
        limits=prices.limits(
            *app.leases.limits,
            address_requests=app.rates.of_address,
            wallet_requests=app.rates.of_wallet,
            new_wallet_requests=app.rates.of_new_wallets,
        ),
        version=version,
    )
    return reply.respond(answer)


def _item(
    on_sale: catalogue.Catalogue, sku: catalogue.Sku, choosable: Collection[str]
) -> schemas.SkuItem:
    """Describe a sku, without those of its images that nobody can choose now."""
    away = {*sku.images}.difference(choosable)
    templates = [name for name in sku.templates if name not in away]
    return prices.sku_item(sku, templates, on_sale.network_of(sku).name)
