"""How a guest says whose it is: two tags, and a signed line in its description.

The tags are compared before every stop, change and delete. The description is enough to write the
lease table again after the database was lost; only lines with a valid HMAC count, because whoever
may edit a guest on Proxmox may write anything there. Proxmox folds tags to lower case and sorts
them, and adds a newline to a description.
"""

import base64
import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from pve402.domain import lease

_LINE = re.compile(r"^pve402:v1:([A-Za-z0-9_-]{1,2000}):([0-9a-f]{64})\s*$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuestRecord:
    """What the description of a guest tells about its lease."""

    lease_id: str
    owner: str  # empty in the warm pool; `expires_at` then says nothing
    sku: str
    size: lease.Size
    expires_at: datetime


def instance_tag(instance: str) -> str:
    """Return the tag that all guests of an installation carry."""
    return f"pve402-{instance.lower()}"


def lease_tag(lease_id: str) -> str:
    """Return the tag that names the lease."""
    return f"lease-{lease_id}"


def is_marked(tags: Collection[str], instance: str, lease_id: str) -> bool:
    """Tell whether a guest with these tags is the guest of this lease of this installation."""
    return instance_tag(instance) in tags and lease_tag(lease_id) in tags


def leases_named(tags: Collection[str]) -> list[str]:
    """Return the lease identities that tags name."""
    named = (tag.removeprefix("lease-") for tag in tags if tag.startswith("lease-"))
    return [lease_id for lease_id in named if lease.is_lease_id(lease_id)]


def describe(record: GuestRecord, key: bytes) -> str:
    """Return the description of a guest: a sentence for people and the signed line."""
    facts: dict[str, Any] = dataclasses.asdict(record)
    facts["expires_at"] = int(record.expires_at.timestamp())
    text = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    body = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
    until = record.expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    standing = f"Leased by pve402 until {until}." if record.owner else "Kept ready by pve402."
    return f"{standing}\npve402:v1:{body}:{_sign(body, key)}\n"


def read_description(description: str, key: bytes) -> GuestRecord | None:
    """Return what the first validly signed line says, None if there is none."""
    for body, signature in _LINE.findall(description[:65536]):
        if hmac.compare_digest(_sign(body, key), signature):
            return _record(body)
    return None


def _sign(body: str, key: bytes) -> str:
    return hmac.new(key, f"pve402:v1:{body}".encode(), hashlib.sha256).hexdigest()


def _record(body: str) -> GuestRecord:
    facts = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return GuestRecord(
        lease_id=facts["lease_id"],
        owner=facts["owner"],
        sku=facts["sku"],
        size=lease.Size(**facts["size"]),
        expires_at=datetime.fromtimestamp(facts["expires_at"], UTC),
    )
