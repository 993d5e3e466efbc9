"""How values look on the wire: camelCase names, whole numbers, closed sets of words."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

_UNITS = re.compile(r"(?<=[a-z])(Mb|Gb)(?=[A-Z]|$)")


def no_bool(value: Any) -> Any:
    """Refuse booleans: they are ints in Python, but not numbers in JSON."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004 -- pydantic's way of refusing
    return value


# Bounds come first: after a BeforeValidator they reach the schema as `ge`, unknown to JSON Schema.
Whole = Annotated[int, Field(ge=-(2**53), le=2**53), BeforeValidator(no_bool)]
Minutes = Annotated[
    int,
    Field(ge=1, le=2**53, description="Minutes to rent.", examples=[60]),
    BeforeValidator(no_bool),
]
ShortText = Annotated[str, Field(max_length=255)]
Status = Literal["provisioning", "active", "stopping", "stopped", "ended", "failed"]
ConsoleKind = Literal["vnc", "terminal", "spice"]
ExecEncoding = Literal["utf-8", "base64"]
ExecState = Literal["running", "exited", "lost"]
UserDataState = Literal["pending", "running", "exited", "failed", "unknown"]
VmWord = Literal["running", "stopped", "unknown", "missing"]
WakeWord = Literal["command", "console", "port"]
PowerWord = Literal["running", "stopped", "paused", "suspended"]
LinkWord = Literal["pending", "ready"]
Family = Literal["ipv4", "ipv6"]
AddressWord = Literal["assigned", "dhcp", "auto", "manual", "none"]
EgressWord = Literal["open", "none", "listed"]
Isolation = Literal["none", "tenant"]
EntryKind = Literal["file", "folder", "link", "other"]
AddressSource = Literal["assigned", "seen"]
StreamService = Literal["ssh", "shell", "ports", "port"]
PortAccess = Literal["private", "public"]
Scope = Literal[
    "*",
    "read",
    "exec",
    "console",
    "files",
    "renew",
    "end",
    "power",
    "network",
    "ports",
    "redeem",
    "snapshots",
    "change",
    "reinstall",
]
ChangeState = Literal["quote", "unchanged", "changing", "undoing", "done", "failed"]
ReinstallState = Literal["none", "reinstalling", "done", "failed"]
SnapshotState = Literal["taking", "there", "failed", "rolling_back", "deleting"]


def _wire_name(name: str) -> str:
    """Return the wire name: camelCase, with MB and GB in capitals."""
    return _UNITS.sub(lambda unit: unit[0].upper(), to_camel(name))


class Wire(BaseModel):
    """Wire names are camelCase; Python names stay snake_case."""

    model_config = ConfigDict(
        alias_generator=_wire_name,
        validate_by_name=True,
        validate_by_alias=True,
        frozen=True,
        defer_build=True,  # built on first use: a start or a command needs few of them
    )


class Request(Wire):
    """A request: null fields count as missing, and unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        return {name: value for name, value in sent.items() if value is not None}


class NewRequest(Request):
    """A request to a newer route: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")
