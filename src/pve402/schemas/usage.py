"""What a container used in the past."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from pve402.schemas.wire import Wire

TimeFrame = Literal["hour", "day", "week", "month"]

MOST_USAGE_POINTS = 500

_Fraction = Annotated[float, Field(ge=0, le=1024, allow_inf_nan=False)]
_Bytes = Annotated[int, Field(ge=0, le=2**53)]


class UsagePoint(Wire):
    """Means over one interval; null where Proxmox VE has no figure."""

    began_at: datetime
    ended_at: datetime
    cpu_fraction: _Fraction | None = Field(description="Of all its cores: 1 is all of them.")
    memory_bytes: _Bytes | None
    memory_total_bytes: _Bytes | None
    disk_bytes: _Bytes | None = Field(description="Null or 0 where its storage does not tell.")
    disk_total_bytes: _Bytes | None
    disk_read_bytes_per_second: _Bytes | None
    disk_write_bytes_per_second: _Bytes | None
    network_in_bytes_per_second: _Bytes | None
    network_out_bytes_per_second: _Bytes | None


class UsageAnswer(Wire):
    """What a container used since its lease began, the oldest first.

    Intervals in which the container was down are left out. Most last a minute for `hour`, five
    minutes for `day`, half an hour for `week`, and two hours for `month`.
    """

    lease_id: str
    ctid: str = Field(description="vmid on Proxmox VE; empty until the lease is paid.")
    timeframe: TimeFrame
    points: list[UsagePoint] = Field(max_length=MOST_USAGE_POINTS)
