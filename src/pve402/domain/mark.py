"""How a guest is marked as ours: two tags, and a signed line in its description.

The tags are checked before every stop, change and delete. The descriptions are enough to rebuild
the lease table if the database is lost; only lines with a valid HMAC count, because anybody who may
edit a guest on Proxmox can write anything there. Proxmox lower-cases and sorts tags, and appends a
newline to a description.
"""

import base64
import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from pve402.domain import inbound, lease, meter, networks, power

_LINE = re.compile(r"^pve402:v1:([A-Za-z0-9_-]{1,8000}):([0-9a-f]{64})\s*$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuestRecord:
    """What a guest's description says about its lease."""

    lease_id: str
    owner: str  # empty in the warm pool; `expires_at` is then meaningless
    sku: str
    size: lease.Size
    expires_at: datetime  # in whole seconds
    metered: meter.Meter | None = None  # None: by an earlier version, or before its time begins
    suspension: power.Suspension | None = None
    network: str = networks.OF_VARIABLES
    addresses: Mapping[str, str] = dataclasses.field(default_factory=dict)  # by family
    openings: tuple[inbound.Opening, ...] | None = None
    wake_on: tuple[str, ...] = ()
    idle_pause_minutes: int | None = None

    @classmethod
    def of(cls, row: lease.Lease, expires_at: datetime) -> Self:
        """Return the record of a lease that ends at that time."""
        return cls(
            lease_id=row.lease_id,
            owner=row.owner,
            sku=row.sku,
            size=row.size,
            expires_at=expires_at,
            metered=meter.of(row),
            suspension=row.suspension,
            network=row.network,
            addresses=row.addresses,
            openings=row.openings,
            wake_on=row.wake_on,
            idle_pause_minutes=row.idle_pause_minutes,
        )


def instance_tag(instance: str) -> str:
    """Return the tag that all guests of an installation carry."""
    return f"pve402-{instance.lower()}"


def lease_tag(lease_id: str) -> str:
    """Return the tag that identifies the lease."""
    return f"lease-{lease_id}"


def is_marked(tags: Collection[str], instance: str, lease_id: str) -> bool:
    """Return whether a guest with these tags belongs to this lease of this installation."""
    return instance_tag(instance) in tags and lease_tag(lease_id) in tags


def leases_named(tags: Collection[str]) -> list[str]:
    """Return the lease ids found in tags."""
    named = (tag.removeprefix("lease-") for tag in tags if tag.startswith("lease-"))
    return [lease_id for lease_id in named if lease.is_lease_id(lease_id)]


def describe(record: GuestRecord, key: bytes) -> str:
    """Return a guest's description: a sentence for people and the signed line."""
    facts: dict[str, Any] = dataclasses.asdict(record)
    facts["expires_at"] = int(record.expires_at.timestamp())
    if record.metered is None:
        del facts["metered"]
    else:
        facts["metered"] = meter.to_words(record.metered)
    for name in ("openings", "idle_pause_minutes"):
        if facts[name] is None:  # no openings at all are a choice, too
            del facts[name]
    if not record.wake_on:
        del facts["wake_on"]
    if record.suspension is None:
        del facts["suspension"]
    else:
        facts["suspension"] |= {
            "since": int(record.suspension.since.timestamp()),
            "resumes_to": record.suspension.resumes_to.value,
        }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    body = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
    return f"{_sentence(record)}\npve402:v1:{body}:{_sign(body, key)}\n"


def read_description(description: str, key: bytes) -> GuestRecord | None:
    """Return the record of the first line with a valid signature, None if there is none."""
    for body, signature in _LINE.findall(description[:65536]):
        if hmac.compare_digest(_sign(body, key), signature):
            return _record(body)
    return None


def _sentence(record: GuestRecord) -> str:
    until = record.expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if record.owner == lease.NOBODY:
        return "Kept ready by pve402."
    if record.owner == lease.IMAGE:
        return f"An image prepared by pve402: {record.sku}. Containers are cloned from it."
    if record.owner.startswith(lease.PRIVATE):
        return f"A private image of a tenant of pve402, paid until {until}."
    if record.owner == lease.DOCTOR:
        return f"Made by pve402's doctor for a trial that ends before {until}."
    return f"Leased by pve402 until {until}."


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
        network=facts.get("network", networks.OF_VARIABLES),  # not in older marks
        addresses=facts.get("addresses", {}),
        metered=meter.from_words(facts["metered"]) if "metered" in facts else None,
        suspension=_suspension(facts.get("suspension")),
        openings=inbound.from_list(facts.get("openings")),
        wake_on=tuple(facts.get("wake_on", ())),
        idle_pause_minutes=facts.get("idle_pause_minutes"),
    )


def _suspension(facts: Mapping[str, Any] | None) -> power.Suspension | None:
    if facts is None:
        return None
    return power.Suspension(
        reason=facts["reason"],
        since=datetime.fromtimestamp(facts["since"], UTC),
        time_held=facts["time_held"],
        resumes_to=power.Wanted(facts["resumes_to"]),
    )
