"""The catalogue: what is on sale and how it can be paid."""

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import context, openapi, routing, shapes

router = routing.router("catalogue")


@router.get("/catalogue", **openapi.free(schemas.CatalogueAnswer))
async def show_catalogue(request: Request) -> Response:
    """Show every sku with its bounds and rates, the management fee, and the accepted networks."""
    app = context.of(request)
    book = app.leases.book
    fee = app.gate.priced(book.management_fee_usd, "/management/list", "Management fee")
    answer = schemas.CatalogueAnswer(
        skus=[shapes.sku_item(sku) for sku in book.skus.values()],
        management_fee_usd=shapes.usd(book.management_fee_usd),
        networks=[shapes.offer(terms) for terms in fee.offers],
    )
    return shapes.respond(answer)
