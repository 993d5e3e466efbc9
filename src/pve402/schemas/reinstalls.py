"""Reinstallations: what tenants send, and what the service answers."""

from datetime import datetime

from pydantic import Field

from pve402.schemas.requests import Password, Script, ScriptNetwork, SshPublicKeys, Variables
from pve402.schemas.wire import NewRequest, ReinstallState, ShortText, Wire


class ReinstallRequest(NewRequest):
    """A fresh container in the place of a lease's; its files are lost."""

    template: ShortText | None = Field(
        default=None, description="One of the sku's templates; by default that of the lease."
    )
    password: Password | None = Field(
        default=None,
        description="Password of root. Without one and without keys, those that the lease was"
        " bought with may log in.",
        examples=["correct horse battery"],
        repr=False,
    )
    ssh_public_keys: SshPublicKeys = Field(
        default_factory=list, description="One line each, in OpenSSH format."
    )
    env: Variables | None = Field(
        default=None,
        description="Variables of all commands of the lease, in the place of those that it has.",
        examples=[{"STAGE": "test"}],
        repr=False,
    )
    user_data: Script | None = Field(
        default=None,
        description="A script that root runs once in the new container, as at a creation.",
        examples=["apk add python3"],
        repr=False,
    )
    user_data_network: ScriptNetwork = None
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
