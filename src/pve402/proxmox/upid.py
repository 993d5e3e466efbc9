"""UPID, the name Proxmox VE gives to one run of a task.

The form is `UPID:node:pid:pstart:starttime:type:id:user:` with the three numbers in
hexadecimal (PVE/Tools.pm, upid_decode of pve-common).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

_UPID = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
    r":(?P<pid>[0-9A-Fa-f]{8})"
    r":(?P<process_start>[0-9A-Fa-f]{8,9})"
    r":(?P<started_at>[0-9A-Fa-f]{8})"
    r":(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):"
)
_LENGTH_LIMIT = 512


@dataclass(frozen=True, kw_only=True)
class Upid:
    """A parsed UPID; `text` is the UPID as Proxmox wrote it."""

    text: str
    node: str
    pid: int
    process_start: int
    started_at: datetime
    type: str
    id: str
    user: str

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read a UPID. Raises ValueError if `text` is not one."""
        if not isinstance(text, str) or len(text) > _LENGTH_LIMIT:
            raise ValueError("not a UPID")
        match = _UPID.fullmatch(text)
        if match is None:
            raise ValueError("not a UPID")
        return cls(
            text=text,
            node=match["node"],
            pid=int(match["pid"], 16),
            process_start=int(match["process_start"], 16),
            started_at=datetime.fromtimestamp(int(match["started_at"], 16), tz=UTC),
            type=match["type"],
            id=match["id"],
            user=match["user"],
        )

    @property
    def vmid(self) -> int | None:
        """The guest the task concerns; None if it concerns something else."""
        return int(self.id) if self.id.isascii() and self.id.isdecimal() else None
