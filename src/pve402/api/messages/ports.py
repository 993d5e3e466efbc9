"""Published ports as answers show them."""

from pve402 import schemas
from pve402.domain import published
from pve402.domain.lease import Lease
from pve402.leases.ports import Ports


async def of_lease(found: Ports, row: Lease) -> schemas.PortsAnswer:
    """The published ports of a lease. Raises PortsOff."""
    return schemas.PortsAnswer(ports=[item(found, port) for port in await found.of_lease(row)])


def item(found: Ports, port: published.PublishedPort) -> schemas.PortItem:
    """One of them. Raises PortsOff."""
    return schemas.PortItem(
        port=port.port,
        access=port.access.value,
        url=found.origin(port.port, port.lease_id),
        created_at=port.created_at,
        expires_at=port.expires_at,
    )
