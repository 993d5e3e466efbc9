"""Reinstallations: what tenants send, and what the service answers."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from pve402.schemas.requests import CommandWord
from pve402.schemas.wire import NewRequest, ReinstallState, ShortText, Wire


class ReinstallRequest(NewRequest):
    """A fresh container in the place of a lease's; its files are lost."""

    template: ShortText | None = Field(
        default=None, description="One of the sku's templates; by default that of the lease."
    )
    password: str | None = Field(
        default=None,
        max_length=1024,
        description="Password of root. Without one and without keys, those that the lease was"
        " bought with may log in.",
        examples=["correct horse battery"],
        repr=False,
    )
    ssh_public_keys: list[Annotated[str, Field(max_length=8192)]] = Field(
        default_factory=list, max_length=64, description="One line each, in OpenSSH format."
    )
    env: dict[Annotated[str, Field(max_length=256)], CommandWord] | None = Field(
        default=None,
        max_length=256,
        description="Variables of all commands of the lease, in the place of those that it has.",
        examples=[{"STAGE": "test"}],
        repr=False,
    )
    user_data: str | None = Field(
        default=None,
        max_length=256 * 1024,
        description="A script that root runs once in the new container, as at a creation.",
        examples=["apk add python3"],
        repr=False,
    )
    user_data_network: bool | None = Field(
        default=None,
        description="False: run `userData` at once; otherwise it waits until the network is ready.",
    )
    delete_snapshots: bool = Field(
        default=False,
        description="Whether the container's snapshots may be deleted, if it has any.",
    )


class ReinstallAnswer(Wire):
    """The latest reinstallation of a lease."""

    lease_id: str
    ctid: str
    state: ReinstallState = Field(
        description="`none`: there was none. `reinstalling`: it goes on, ask again. `failed`: the"
        " container is as it was; `problem` says why."
    )
    problem: str | None = Field(
        default=None,
        description="Why it failed (`container_locked`, `reinstall_failed`), or what it waits for"
        " (`not_created`, `number_taken`, `container_locked`).",
    )
    template: str | None = Field(
        default=None, description="The template that was chosen; null: the usual one of the sku."
    )
    asked_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = Field(
        description="When the lease ends; it moves on while there is no container."
    )
