"""References of OCI images, as we ask Proxmox VE 9.1 and later to pull them.

The node itself contacts the host of a reference, loopback and private addresses included, and the
task's log tells what answered there: no reference may come from a tenant.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

_LENGTH_LIMIT: Final = 255
_NAME_LIMIT: Final = 40
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?")
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_FILE = re.compile(r"[^:]+:vztmpl/oci-[A-Za-z0-9._-]+-[0-9a-f]{12}\.tar")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Names an image: `docker.io/library/python:3.13-slim`."""

    host: str
    path: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST/PATH:TAG, which Proxmox VE accepts and which says where the image is from.

        Raises ValueError with what is wrong.
        """
        if len(text) > _LENGTH_LIMIT:
            raise ValueError(f"has more than {_LENGTH_LIMIT} characters")
        if "://" in text:
            raise ValueError("begins with a scheme; leave it out")
        if "@" in text:
            raise ValueError("has a digest, which Proxmox VE does not accept; name a tag")
        host, slash, rest = text.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            raise ValueError("names no registry; begin with one, such as docker.io/library/")
        path, colon, tag = rest.partition(":")
        if not colon:
            raise ValueError("has no tag; add one, such as :latest")
        if _TAG.fullmatch(tag) is None:
            raise ValueError("has a tag that is none")
        if _HOST.fullmatch(host) is None or _PATH.fullmatch(path) is None:
            raise ValueError("may have lower-case letters, digits and single . _ - / in its name")
        return cls(host=host, path=path, tag=tag)

    def __str__(self) -> str:
        return f"{self.host}/{self.path}:{self.tag}"

    @property
    def file_name(self) -> str:
        """Our name for its file; by itself, Proxmox VE gives one name to images of many registries.

        What remains after Proxmox VE has replaced unusual characters and appended `.tar`.
        """
        name, tag = (part[:_NAME_LIMIT] for part in (self.path.rpartition("/")[2], self.tag))
        digest = hashlib.sha256(str(self).encode()).hexdigest()[:12]
        return f"oci-{name}_{tag}-{digest}.tar"

    def volume(self, storage: str) -> str:
        """Our volume id for its file on a storage."""
        return f"{storage}:vztmpl/{self.file_name}"


def is_file(volume: str) -> bool:
    """Whether a volume is the file of an OCI image, by the name that we give those."""
    return _FILE.fullmatch(volume) is not None
