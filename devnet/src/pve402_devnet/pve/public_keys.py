"""SSH public keys, judged as `ssh-keygen -l` judges them: Proxmox VE asks it about each line."""

import base64
import re

from cryptography import exceptions
from cryptography.hazmat.primitives import serialization

from pve402_devnet.pve import errors

_OPTIONS = re.compile(r'(?:[^\s"]|"(?:\\.|[^"\\])*")+\s+')
_MAX_LINE = 16_384


def require_valid(text: str) -> None:
    """Raise `errors.Failure` unless every line that is not blank holds a public key."""
    for line in text.split("\n"):
        if line.strip() and not is_valid(line.strip()):
            raise errors.Failure("SSH public key validation error")


def is_valid(line: str) -> bool:
    """Tell whether a line is a key, or a key behind options as in `authorized_keys`."""
    if len(line) > _MAX_LINE:
        return False
    if _is_key(line):
        return True
    options = _OPTIONS.match(line)
    return options is not None and not line.startswith("#") and _is_key(line[options.end() :])


def _is_key(line: str) -> bool:
    try:
        key = serialization.load_ssh_public_identity(line.encode())
    except (ValueError, exceptions.UnsupportedAlgorithm):
        return False
    if isinstance(key, serialization.SSHCertificate) or line.startswith("sk-"):
        return True
    # The library reads what it needs and leaves what follows; ssh-keygen refuses such a key.
    written = key.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).split()[1]
    return base64.b64decode(written) == base64.b64decode(line.split()[1])
