"""What the service answers about files and folders of containers."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from pve402.schemas.wire import EntryKind, Wire


class FileAnswer(Wire):
    """A file in a container."""

    ctid: str
    path: str
    size_bytes: int
    mode: str | None = Field(description="Octal.", examples=["0644"])
    sha256: str | None = Field(description="SHA-256 of the file, in hexadecimal.")
    via: Literal["terminal", "network"] = Field(
        default="terminal", description="Way into the container that the bytes took."
    )
    bytes_per_second: int | None = Field(
        default=None, description="How fast it was, from the first byte to the whole file."
    )


class EntryItem(Wire):
    """A file, folder or link in a container; `other` is a device, pipe or socket."""

    name: str = Field(
        description="Below the listed folder, or the whole path of a single entry; to be shown: "
        "bytes that are not UTF-8 appear as U+FFFD."
    )
    path: str = Field(
        description="The exact path, percent-encoded: the `path` of a request.",
        examples=["/srv/a%20b%FF"],
    )
    kind: EntryKind
    size_bytes: int
    mode: str = Field(description="Octal.", examples=["0644"])
    uid: int
    gid: int
    modified_at: datetime | None = Field(description="Null for a time beyond the calendar.")


class EntryAnswer(EntryItem):
    """One file, folder or link of a container."""

    ctid: str
    target: str | None = Field(description="Where a link leads to, percent-encoded.")


class FolderAnswer(Wire):
    """A page of a folder in a container: each folder before what is in it."""

    ctid: str
    path: str = Field(description="Percent-encoded.")
    entries: list[EntryItem]
    after: str | None = Field(description="For the next page; null on the last one.")
