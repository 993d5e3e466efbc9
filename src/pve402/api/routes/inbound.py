"""What reaches a container of an isolated network from outside: a tenant's own rules."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import body, routing
from pve402.domain import inbound, networks
from pve402.domain.lease import Lease
from pve402.leases.guest_networks import SETTLED_SECONDS

router = routing.Router("lease")

_LOOK = "Show what reaches a container from outside"
_CHANGE = "Change what reaches a container from outside"
_TOLD = (
    "A changed rule needs 10 seconds. Connections that are open already go on: stop the container"
    " to cut them."
)


@router.get("/lease/{ctid}/inbound", **operations.fee(schemas.InboundAnswer))
async def show_inbound(request: Request) -> Response:
    """Show what reaches the container from outside."""
    call = await caller.admit(request, scope="read", description=_LOOK, find_lease=True)
    if isinstance(call, Response):
        return call
    await call.charge()
    return _answer(request, call.the_lease)


@router.put(
    "/lease/{ctid}/inbound",
    **operations.fee(schemas.InboundAnswer, request=schemas.InboundRequest),
)
async def change_inbound(request: Request) -> Response:
    """Choose what reaches the container from outside, if its network lets tenants choose.

    Replaces the rules before. They hold within 10 seconds; open connections go on until the
    container stops.
    """
    call = await caller.admit(request, scope="network", description=_CHANGE, find_lease=True)
    if isinstance(call, Response):
        return call
    leases = context.of(request).leases
    leases.inbound.check(call.the_lease)
    wish = body.parse(await body.read(request), schemas.InboundRequest)
    openings = _openings(wish)
    await call.charge()
    return _answer(request, await leases.inbound.let_in(call.the_lease, openings))


def _openings(wish: schemas.InboundRequest) -> list[inbound.Opening] | None:
    if wish.rules is None:
        return None
    return [inbound.Opening.checked(one.protocol, one.ports, one.source) for one in wish.rules]


def _answer(request: Request, row: Lease) -> Response:
    rules = context.of(request).leases.inbound
    is_open = rules.is_open(row)
    holds_at = None
    is_written = row.rules_key is not None and row.link is networks.Link.READY
    if is_written and row.rules_at is not None:
        holds_at = row.rules_at + timedelta(seconds=SETTLED_SECONDS)
    answer = schemas.InboundAnswer(
        lease_id=row.lease_id,
        ctid=row.ctid,
        is_open=is_open,
        rules=[] if is_open else [_rule(one) for one in rules.of(row)],
        is_own=row.openings is not None,
        holds_at=holds_at,
        message=_TOLD,
    )
    return reply.respond(answer)


def _rule(opening: inbound.Opening) -> schemas.InboundRule:
    return schemas.InboundRule.model_validate(
        {
            "protocol": opening.protocol,
            "ports": list(opening.ports),
            "source": opening.source or None,
        }
    )
