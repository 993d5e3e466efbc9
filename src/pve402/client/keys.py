"""The SSH keys of a running container.

async with client.Client("https://rent.example.com", token="...") as service:
    await client.keys.add(service, "10001", Path("id_ed25519.pub").read_text())
"""

from typing import Any
from urllib.parse import urlencode

from pve402 import schemas
from pve402.client import transport
from pve402.client.client import Client


async def show(service: Client, ctid: str) -> schemas.KeysAnswer:
    """The keys that may log in as root, and the host keys. Raises Refused, ServiceUnreachable."""
    return await _call(service, "GET", ctid)


async def add(service: Client, ctid: str, public_key: str) -> schemas.KeysAnswer:
    """Let a key log in. Raises as `show`."""
    wish = schemas.KeyRequest(public_key=public_key)
    return await _call(service, "POST", ctid, document=transport.document(wish))


async def remove(service: Client, ctid: str, fingerprint: str) -> schemas.KeysAnswer:
    """Stop a key from logging in. Raises as `show`."""
    return await _call(service, "DELETE", ctid, f"?{urlencode({'fingerprint': fingerprint})}")


async def _call(
    service: Client, method: str, ctid: str, query: str = "", **request: Any
) -> schemas.KeysAnswer:
    path = f"/management/keys/{ctid}{query}"
    async with service.opened(method, path, ctid, timeout=transport.WHOLE, **request) as answer:
        return transport.read(await transport.read_reply(answer), schemas.KeysAnswer)
