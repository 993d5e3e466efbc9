"""Arguments that several tools take, as an agent reads and must write them."""

from typing import Annotated, Final

from pydantic import Field

PRIVATE: Final = "private/"
"""What the template of a private image begins with, before its imageId."""

Name = Annotated[
    str, Field(description="Which lease: its name, lease_id or ctid.", min_length=1, max_length=253)
]
NewName = Annotated[
    str,
    Field(
        description="Host name for the box. The same name again is the same order: it is never"
        " paid twice.",
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
    ),
]
Minutes = Annotated[int, Field(description="Minutes to pay for.", ge=1, le=1_000_000)]
Cores = Annotated[int | None, Field(description="Processor cores.", ge=1, le=10_000)]
MemoryMb = Annotated[int | None, Field(description="MiB of memory.", ge=1, le=2**31)]
DiskGb = Annotated[int | None, Field(description="GiB of disk.", ge=1, le=2**31)]
MaxUsd = Annotated[
    float | None,
    Field(
        description="Refuse, and pay nothing, if it costs more USD than this, such as 0.05; 0 only"
        " asks for the price. The user's own limits hold in any case.",
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
    ),
]
Env = Annotated[
    dict[str, str] | None,
    Field(description="Environment variables of everything that `run` runs in it."),
]
UserData = Annotated[
    str | None,
    Field(
        description="Shell script that root runs once in it, when its network is ready.",
        max_length=65536,
    ),
]
SnapshotName = Annotated[
    str,
    Field(
        description="Name of the snapshot: a letter, then letters, digits, - and _.",
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{1,39}$",
    ),
]
