"""What a container used in the past.

async with client.Client("https://rent.example.com", token="...") as service:
    answer = await client.usage.show(service, "10001", "day")
"""

from pve402 import schemas
from pve402.client import transport
from pve402.client.client import Client


async def show(
    service: Client, ctid: str, timeframe: schemas.TimeFrame = "hour"
) -> schemas.UsageAnswer:
    """Processor, memory, disk and network since the lease began, the oldest first.

    Raises KeyNeeded, Refused, ServiceUnreachable.
    """
    path = f"/lease/{ctid}/usage?timeframe={timeframe}"
    async with service.opened("GET", path, ctid, timeout=transport.WHOLE) as answer:
        return transport.read(await transport.read_reply(answer), schemas.UsageAnswer)
