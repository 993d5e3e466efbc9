"""The gateway's own key, the tokens of sandboxes that follow from it, and signed addresses.

The key has the shape that older SDKs insist on. A sandbox's token opens it alone; a signature by
the token opens one file for reading or writing.
"""

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Final

from pve402 import client
from pve402.client import private

_KEY: Final = re.compile(r"e2b_[0-9a-f]{40}")
_MOST_CHARACTERS: Final = 256


def key_file() -> Path:
    """Where the key is kept, for this user alone."""
    return private.state_folder() / "e2b.key"


def load(path: Path) -> str:
    """Read the key, or make it. Raises NotesUnusable for a file that is not ours."""
    try:
        private.ensure(path)
        found = path.read_text(encoding="ascii", errors="replace").strip()
        if not found:
            found = f"e2b_{secrets.token_hex(20)}"
            private.write(path, f"{found}\n")
    except OSError as error:
        raise client.NotesUnusable(f"{path}: {error.strerror or error}") from None
    if not _KEY.fullmatch(found):
        raise client.NotesUnusable(f"{path} is not a key of ours; remove it to get a new one")
    return found


def token_of(key: str, sandbox_id: str) -> str:
    """The token that opens a sandbox."""
    return hmac.new(key.encode(), _raw(f"sandbox {sandbox_id}"), hashlib.sha256).hexdigest()


def order_of(key: str, name: str) -> str:
    """What service and ledger call an order that a program has named."""
    return f"e2b-{hashlib.sha256(_raw(f'{key} {name}')).hexdigest()[:40]}"


def password_of(key: str, idempotency_key: str) -> str:
    """Root's password, the same for the same request; nobody types it."""
    return hmac.new(key.encode(), f"root {idempotency_key}".encode(), hashlib.sha256).hexdigest()


def is_same(given: str, wanted: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(_raw(given[:_MOST_CHARACTERS]), wanted.encode())


def signature(path: str, act: str, user: str, token: str, expires: str) -> str:
    """The signature of one file's address, as E2B's SDKs make it."""
    parts = [path, act, user, token, *([expires] if expires else [])]
    digest = hashlib.sha256(_raw(":".join(parts))).digest()
    return f"v1_{base64.b64encode(digest).decode().rstrip('=')}"


def _raw(text: str) -> bytes:
    """The bytes of text; what a header or an address has that is no UTF-8 is written out."""
    return text.encode(errors="backslashreplace")
