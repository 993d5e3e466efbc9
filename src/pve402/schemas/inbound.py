"""What is answered about what reaches a container from outside."""

from datetime import datetime

from pydantic import Field

from pve402.schemas.requests import InboundRule
from pve402.schemas.wire import Wire


class InboundAnswer(Wire):
    """What reaches a container from outside."""

    lease_id: str
    ctid: str
    is_open: bool = Field(description="Whether everybody gets in; `rules` is empty then.")
    rules: list[InboundRule]
    is_own: bool = Field(description="Whether the tenant chose it, not the operator's network.")
    holds_at: datetime | None = Field(
        description="From when it surely holds; null while it is not written yet."
    )
    message: str
