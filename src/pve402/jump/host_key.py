"""The jump host's own key.

It is derived from the installation's secret: all replicas have the same one, it lives as long as
the secret, and there is no further file to keep.
"""

from typing import Final

import asyncssh
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

#: What the secret bytes are derived for; see storage.vault.
PURPOSE: Final = "ssh host key"


def of(seed: bytes) -> asyncssh.SSHKey:
    """Return the Ed25519 key of 32 secret bytes."""
    private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return asyncssh.import_private_key(text)


def public_text(key: asyncssh.SSHKey) -> str:
    """Return the public half as `type base64`."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])
