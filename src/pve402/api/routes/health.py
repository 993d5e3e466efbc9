"""Health: whether the process is alive, and whether it can serve."""

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import context
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import routing

router = routing.Router("health")


@router.get("/healthz", **operations.free(schemas.Health, refusals=[]))
async def check_health(_request: Request) -> Response:
    """Say that the process is alive; checks nothing else."""
    return reply.respond(schemas.Health(status="ok"))


@router.get("/readyz", **operations.readiness())
async def check_readiness(request: Request) -> Response:
    """Say whether the service can serve: checks database, recovery, Proxmox VE and chains."""
    app = context.of(request)
    checks = await app.readiness()
    ready = all(checks.values())
    answer = schemas.Health(
        status="ok" if ready else "unavailable",
        checks=checks,
        isolation=app.leases.isolation(),
        catalogue=schemas.CatalogueState(
            version=app.leases.prices.version, problem=app.leases.prices.problem
        ),
    )
    return reply.respond(answer, 200 if ready else 503)
