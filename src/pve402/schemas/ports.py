"""Published ports: what tenants send, and what the service answers."""

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

from pve402.schemas.wire import NewRequest, PortAccess, Wire, no_bool

PortNumber = Annotated[int, Field(ge=1, le=65535, examples=[8080]), BeforeValidator(no_bool)]


class PortRequest(NewRequest):
    """A port to publish."""

    port: PortNumber
    access: PortAccess = Field(
        default="private", description="`public` is for everybody who knows the address."
    )
    expires_at: datetime | None = Field(
        default=None, description="By default, when the lease ends."
    )


class PortLoginRequest(NewRequest):
    """A private port to log in to."""

    port: PortNumber


class PortItem(Wire):
    """A published port."""

    port: int
    access: PortAccess
    url: str = Field(description="Where it is, for browsers and programs.")
    created_at: datetime
    expires_at: datetime | None = Field(description="Null for as long as the lease lasts.")


class PortsAnswer(Wire):
    """The published ports of a container."""

    ports: list[PortItem]


class PortLoginAnswer(Wire):
    """A link that logs one browser in, once."""

    url: str = Field(description="Open it in a browser, before `expiresAt`.", repr=False)
    expires_at: datetime
