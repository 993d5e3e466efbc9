"""What is known about a box without asking its service."""

from dataclasses import dataclass, field
from datetime import datetime

from pve402 import schemas


@dataclass(kw_only=True)
class State:
    """A box as it was last seen."""

    url: str
    lease: schemas.LeaseAnswer | schemas.LeaseItem
    token: str | None = field(repr=False)


class Facts:
    """The facts of a box, for both of its classes."""

    _state: State

    @property
    def url(self) -> str:
        """The address of its service."""
        return self._state.url

    @property
    def lease_id(self) -> str:
        """The lease's name, which is never used again."""
        return self._state.lease.lease_id

    @property
    def ctid(self) -> str:
        """The container's number, which may be another lease's later."""
        return self._state.lease.ctid or ""

    @property
    def hostname(self) -> str:
        """The container's host name."""
        return self._state.lease.hostname

    @property
    def token(self) -> str | None:
        """The lease's own token, which opens this box alone; None if only the wallet is known."""
        return self._state.token

    @property
    def expires_at(self) -> datetime | None:
        """When the paid time ends, as far as we know; None if the lease has not begun."""
        return self._state.lease.expires_at

    @property
    def seen(self) -> schemas.LeaseAnswer | schemas.LeaseItem:
        """The lease as the service last described it."""
        return self._state.lease

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.lease_id} at {self.url}>"
