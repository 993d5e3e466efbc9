"""Copies of a container: what tenants send, and what the service answers."""

from pydantic import Field

from pve402.schemas.answers import LeaseAnswer
from pve402.schemas.requests import Password, Script, ScriptNetwork, SshPublicKeys, Variables
from pve402.schemas.wire import Minutes, NewRequest, ShortText, WakeWord, Whole, Wire


class ForkRequest(NewRequest):
    """Copies of a container to lease, each with its size."""

    runtime_minutes: Minutes
    count: Whole = Field(
        default=1,
        description="How many copies; one payment pays for all.",
        examples=[1],
        json_schema_extra={"minimum": 1},
    )
    snapshot: ShortText | None = Field(
        default=None,
        description="The snapshot that is copied; the container as it is now if not given.",
        examples=["before-upgrade"],
    )
    hostname: ShortText | None = Field(
        default=None,
        description="Of the first copy; the others get -2, -3 and so on. Derived if not given.",
        examples=["worker"],
    )
    password: Password | None = Field(
        default=None,
        description="Another password of root. A copy has that of its container otherwise.",
        examples=["correct horse battery"],
        repr=False,
    )
    ssh_public_keys: SshPublicKeys = Field(
        default_factory=list,
        description="Keys of root in place of those of the container.",
    )
    env: Variables | None = Field(
        default=None,
        description="Variables of all commands of each copy; those of the container are not its.",
        examples=[{"STAGE": "test"}],
        repr=False,
    )
    user_data: Script | None = Field(
        default=None,
        description="A script that root runs once in each copy.",
        examples=["apk add python3"],
        repr=False,
    )
    user_data_network: ScriptNetwork = None
    wake_on: list[WakeWord] | None = Field(
        default=None, max_length=8, description="What wakes a copy when it is paused."
    )


class ForkOffer(Wire):
    """Whether a container can be copied now."""

    possible: bool
    needs_stop: bool = Field(
        description="Whether it could be copied if it were stopped; it may run again afterwards."
    )
    problem: str | None = Field(
        description="Code of what a copy would be refused with now; null if it is possible."
    )
    at_most: int = Field(description="Copies that one call may lease; 0 if none are made.")
    minute_usd: str | None = Field(
        description="Price of one more minute of one copy in USD; null if it is not sold now."
    )


class ForkAnswer(LeaseAnswer):
    """The first of the copies that were just leased, and the others."""

    forked_from: str = Field(description="The leaseId of the container that was copied.")
    others: list[LeaseAnswer] = Field(
        description="The other copies. Their `amount` is their share of the first one's. The share"
        " of a copy that is `failed` is owed."
    )
