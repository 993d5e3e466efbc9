"""What the service answers about SSH."""

from typing import Annotated

from pydantic import Field

from pve402.schemas.wire import Wire


class KeyItem(Wire):
    """A line of the container's authorized_keys."""

    fingerprint: str | None = Field(
        description="As `ssh-keygen -l` shows it; null for a line that is not a plain key."
    )
    public_key: str


class KeysAnswer(Wire):
    """The SSH keys of a container."""

    keys: list[KeyItem]
    host_keys: list[str] = Field(
        description="Public keys of the container's SSH server; none if it has no OpenSSH."
    )


class SshWay(Wire):
    """How to log in with nothing but ssh."""

    command: str = Field(examples=["ssh -J l0a1b2...@rent.example.com:2222 root@l0a1b2..."])
    known_hosts: str = Field(description="Line of the jump host for a file of known hosts.")


Ssh = Annotated[
    SshWay | None, Field(description="Way through the jump host; null if there is none.")
]
