"""The certificate that a host shows, read before anybody vouches for it."""

import asyncio
import hashlib
import ssl

from pve402.proxmox import options

_LOOK_SECONDS = 5.0


async def shown_fingerprint(host: str) -> str:
    """Return the SHA-256 fingerprint of a host's certificate, as Proxmox VE writes it.

    Nothing but the greeting of TLS is sent. Empty if no certificate can be read.
    """
    url = options.api_url(host)
    address = (url.host or "", url.port or options.DEFAULT_PORT)
    try:
        pem = await asyncio.to_thread(ssl.get_server_certificate, address, timeout=_LOOK_SECONDS)
    except (OSError, ValueError):
        return ""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digest[place : place + 2] for place in range(0, len(digest), 2))
