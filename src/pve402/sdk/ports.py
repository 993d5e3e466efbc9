"""Published ports of a box."""

from collections.abc import Sequence
from datetime import datetime

from pve402 import client, schemas
from pve402.sdk import wishes


class AsyncPorts:
    """The ports of a box that have an address on the web."""

    def __init__(self, service: client.Client, lease_id: str) -> None:
        self._service = service
        self._lease_id = lease_id

    async def publish(
        self, port: int, *, public: bool = False, expires_at: datetime | None = None
    ) -> schemas.PortItem:
        """Publish a port of the container's loopback under the address in `url`.

        A private one needs a login or the lease's token. Raises Refused, ServiceUnreachable.
        """
        access = "public" if public else "private"
        wish = wishes.checked(schemas.PortRequest, port=port, access=access, expires_at=expires_at)
        return await client.ports.publish(self._service, self._lease_id, wish)

    async def show(self) -> Sequence[schemas.PortItem]:
        """The published ports. Raises as `publish`."""
        return await client.ports.show(self._service, self._lease_id)

    async def unpublish(self, port: int) -> None:
        """Publish a port no more. Raises as `publish`."""
        await client.ports.unpublish(self._service, self._lease_id, port)

    async def login(self, port: int) -> schemas.PortLoginAnswer:
        """Make a link that logs one browser in to a private port, once. Raises as `publish`."""
        return await client.ports.login(self._service, self._lease_id, port)
