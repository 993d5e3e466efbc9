"""What a tenant types to come in through the jump host."""

from dataclasses import dataclass
from typing import Final

_USUAL_PORT: Final = 22


@dataclass(frozen=True, kw_only=True)
class Way:
    """Where the jump host is, and its public key as `type base64`; an IPv6 host is in brackets."""

    host: str
    port: int
    public_key: str

    def command(self, lease_id: str) -> str:
        """Return the command that logs in to a lease's guest.

        The guest is named by its lease, so that ssh does not take its host key for another's.
        """
        port = "" if self.port == _USUAL_PORT else f":{self.port}"
        return f"ssh -J {lease_id}@{self.host}{port} root@{lease_id}"

    @property
    def known_hosts_line(self) -> str:
        """The jump host's line in a file of known hosts (sshd(8))."""
        bare = self.host.strip("[]")
        name = bare if self.port == _USUAL_PORT else f"[{bare}]:{self.port}"
        return f"{name} {self.public_key}"
