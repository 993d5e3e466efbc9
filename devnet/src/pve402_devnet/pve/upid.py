"""UPIDs: the names of Proxmox tasks, `UPID:node:PID:PSTART:START:type:id:user:`."""

import re
from dataclasses import dataclass

_PATTERN = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?)"
    r":(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):(?P<start>[0-9A-Fa-f]{8})"
    r":(?P<type>[^:\s/]+):(?P<id>[^:\s/]*):(?P<user>[^:\s/]+):"
)


@dataclass(frozen=True, kw_only=True)
class Upid:
    """A parsed task name (form of PVE::UPID)."""

    node: str
    pid: int
    pstart: int
    start: int
    type: str
    id: str
    user: str

    def __str__(self) -> str:
        return (
            f"UPID:{self.node}:{self.pid:08X}:{self.pstart:08X}:{self.start:08X}"
            f":{self.type}:{self.id}:{self.user}:"
        )

    @property
    def user_and_token(self) -> tuple[str, str | None]:
        """The user's name, and the token's if a token started the task."""
        name, separator, token = self.user.partition("!")
        return name, token if separator else None


def parse(text: str) -> Upid | None:
    """Parse a UPID; None if the text is not one."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    return Upid(
        node=match["node"],
        pid=int(match["pid"], 16),
        pstart=int(match["pstart"], 16),
        start=int(match["start"], 16),
        type=match["type"],
        id=match["id"],
        user=match["user"],
    )
