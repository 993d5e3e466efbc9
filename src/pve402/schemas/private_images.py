"""Private images: what tenants send, and what the service answers."""

from datetime import datetime

from pydantic import Field

from pve402.schemas.wire import Minutes, NewRequest, Status, Wire


class SaveRequest(NewRequest):
    """A container to save as a private image."""

    name: str = Field(
        description="A letter, then 1 to 39 small letters, digits and -; the last is no -.",
        examples=["build-tools"],
    )
    runtime_minutes: Minutes
    snapshot: str | None = Field(
        default=None,
        max_length=40,
        description="Name of the container's snapshot to save; without it the container must be"
        " stopped, and is saved as it is.",
    )


class PrivateImageItem(Wire):
    """A private image."""

    image_id: str = Field(examples=["l8w0o5w0v1q9n7x3k2j4h6g5f4"])
    template: str = Field(
        description="What `template` is for a container from it.",
        examples=["private/l8w0o5w0v1q9n7x3k2j4h6g5f4"],
    )
    name: str
    status: Status = Field(
        description="`provisioning` while it is saved. `stopped`: what was paid is used up, and it"
        " is deleted at `deletesAt` unless it is renewed; nothing is leased from it meanwhile."
    )
    disk_gb: int = Field(description="What it is paid for, and the least disk of its containers.")
    minute_usd: str = Field(description="What it burns.", examples=["0.00004"])
    created_at: datetime
    expires_at: datetime | None
    deletes_at: datetime | None
    sku: str = Field(description="Of the container that it was saved from.")
    source_lease_id: str | None = Field(description="That container's lease.")
    source_template: str | None = Field(description="What that container was asked for with.")
    end_reason: str | None
    owner_wallet: str = Field(description="Its owner, in EIP-55 checksum form.")


class SavedImageAnswer(PrivateImageItem):
    """A private image that was just saved or renewed."""

    message: str
    access_token: str | None = Field(
        description="Bearer token of the image; only in the first answer.", repr=False
    )
    network: str
    amount: str = Field(description="Price in atomic units.", examples=["2640"])
    transaction: str | None = Field(description="Hash of the transfer.")


class PrivateImagesAnswer(Wire):
    """The private images of a wallet, or the one of a token."""

    images: list[PrivateImageItem]
    at_most: int = Field(description="How many a wallet may keep.")
