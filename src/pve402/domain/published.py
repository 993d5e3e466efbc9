"""Published ports: a guest's TCP port under a host name of its own, and who may use it."""

import dataclasses
import re
from datetime import datetime
from enum import Enum
from typing import Final

from pve402.domain import errors

#: How many ports a lease, a wallet and the whole service may publish at a time.
MOST_PER_LEASE: Final = 16
MOST_PER_WALLET: Final = 64
MOST_IN_ALL: Final = 10_000
_LABEL: Final = re.compile(r"([1-9][0-9]{0,4})-(l[a-z0-9]{25})")


class PortsOff(errors.Conflict):
    """The operator gave published ports no domain."""

    detail = (
        "This service publishes no ports. GET /management/http/{ctid}/{port}/ and"
        " `pve402 tunnel` reach a port without that."
    )
    code = "ports_off"


class PortNotPublished(errors.LeaseNotFound):
    """No such port is published."""

    detail = "Nothing is published here, or not any more."
    code = "port_not_published"


class TooManyPorts(errors.TooMany):
    """The lease, the wallet or the service publishes as many ports as it may."""

    detail = "No more ports can be published; unpublish one first."
    code = "too_many_ports"
    retry_after_seconds = None


class LoginRefused(errors.Unauthenticated):
    """The link was used or has expired, or never was one."""

    detail = "This link has been used or has expired; ask for another one."
    code = "login_refused"


class Misdirected(errors.Pve402Error):
    """The Host header is under the ports domain, and is no name of a port."""

    detail = "No port can have this name; it is PORT-LEASEID before the domain of ports."
    code = "misdirected_request"


class Access(Enum):
    """Who may use a published port."""

    PRIVATE = "private"  # holders of a token, and browsers they have logged in
    PUBLIC = "public"  # everybody


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedPort:
    """One published port of a lease; without `expires_at` it lasts as long as the lease."""

    lease_id: str
    port: int
    access: Access
    created_at: datetime
    expires_at: datetime | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortName:
    """The name of a port, as told by a Host header."""

    host: str
    lease_id: str
    port: int


@dataclasses.dataclass(frozen=True)
class PortsDomain:
    """The domain that all published ports have names under, with a port unless it is the usual one.

    Names under `localhost`, for trials on one machine, have no certificates: their scheme is http.
    """

    text: str

    @property
    def host(self) -> str:
        """The domain without a port."""
        return self.text.partition(":")[0]

    @property
    def scheme(self) -> str:
        """How browsers reach the names."""
        return "http" if self.host.rpartition(".")[2] == "localhost" else "https"

    def origin(self, port: int, lease_id: str) -> str:
        """The address of a port, without a path."""
        return f"{self.scheme}://{port}-{lease_id}.{self.text}"

    def named(self, host: str) -> PortName | None:
        """What a Host header names; None if it is not under this domain. Raises Misdirected.

        Only the exact form that browsers send names a port: no trailing dot, no other port.
        """
        told = host.lower()
        name = told.partition(":")[0].rstrip(".")
        if name != self.host and not name.endswith(f".{self.host}"):
            return None
        label, _, rest = told.partition(".")
        match = _LABEL.fullmatch(label)
        if match is None or rest != self.text or int(match[1]) > 65535:
            raise Misdirected
        return PortName(host=told, lease_id=match[2], port=int(match[1]))
