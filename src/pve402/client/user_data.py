"""What became of the script that came with a lease.

async with client.Client("https://rent.example.com", token="...") as service:
    answer = await client.user_data.show(service, "10001")
"""

from pve402 import schemas
from pve402.client import transport
from pve402.client.client import Client


async def show(service: Client, ctid: str) -> schemas.UserDataAnswer:
    """How far the script is, and the end of its output once it has ended.

    Raises KeyNeeded, NotFound, Refused, ServiceUnreachable.
    """
    path = f"/lease/{ctid}/user-data"
    async with service.opened("GET", path, ctid, timeout=transport.WHOLE) as answer:
        return transport.read(await transport.read_reply(answer), schemas.UserDataAnswer)
