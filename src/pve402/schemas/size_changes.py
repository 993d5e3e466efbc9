"""Changes of a lease's size: what tenants send, and what the service answers."""

from datetime import datetime

from pydantic import Field
from pydantic.config import JsonDict

from pve402.schemas.wire import ChangeState, NewRequest, Whole, Wire

_AT_LEAST_ONE: JsonDict = {"minimum": 1}


class ChangeRequest(NewRequest):
    """Another size for a container; what is not given stays as it is."""

    cores: Whole | None = Field(default=None, examples=[2], json_schema_extra=_AT_LEAST_ONE)
    memory_mb: Whole | None = Field(
        default=None, description="MiB.", examples=[1024], json_schema_extra=_AT_LEAST_ONE
    )
    disk_gb: Whole | None = Field(
        default=None,
        description="GiB; a disk never becomes smaller.",
        examples=[16],
        json_schema_extra=_AT_LEAST_ONE,
    )
    allow_restart: bool = Field(
        default=False,
        description="Whether the container may be stopped and started if it cannot have the size"
        " while it runs.",
    )
    quote: bool = Field(default=False, description="Only say what it would cost; change nothing.")


class SizeAtPrice(Wire):
    """A size, and what it costs."""

    cores: int
    memory_mb: int
    disk_gb: int
    minute_usd: str = Field(
        description="USD a minute that its time burns at, rounded down after 18 decimal places."
    )


class ChangeAnswer(Wire):
    """The latest change of a container's size, or one that was only asked about."""

    lease_id: str
    ctid: str
    state: ChangeState = Field(
        description="`quote`: nothing was changed. `unchanged`: it has the size already."
        " `changing`: it is being changed, ask again. `undoing` and `failed`: it has, or gets, the"
        " size of before; `problem` says why."
    )
    problem: str | None = Field(
        default=None,
        description="Code of what kept it from its size: `needs_restart`, `container_locked` or"
        " `change_failed`.",
    )
    before: SizeAtPrice
    after: SizeAtPrice
    expires_at: datetime | None = Field(
        description="When the lease ends now; with `quote`, when it would end."
    )
