"""How much one wallet, one client address, or all new wallets together may lease at a time."""

import dataclasses
import re
from typing import Self

from pve402.domain import errors, lease

_PART = re.compile(r"(leases|cores|memoryMB|diskGB|addresses)=([1-9][0-9]{0,8})")
_FIELDS = {
    "leases": "leases",
    "cores": "cores",
    "memoryMB": "memory_mb",
    "diskGB": "disk_gb",
    "addresses": "addresses",
}
_WORDS = {
    "leases": "leases",
    "cores": "cores",
    "memory_mb": "MiB of memory",
    "disk_gb": "GiB of disk",
    "addresses": "addresses",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    """What somebody's standing leases take up; a lease counts until its guest is gone."""

    leases: int = 0
    cores: int = 0
    memory_mb: int = 0
    disk_gb: int = 0
    addresses: int = 0  # of pools, and those that others give and we learn

    @classmethod
    def of_lease(cls, size: lease.Size, addresses: int, count: int = 1) -> Self:
        """Return what so many leases take up."""
        each = {"leases": 1, **dataclasses.asdict(size), "addresses": addresses}
        return cls(**{name: value * count for name, value in each.items()})

    def plus(self, more: Self) -> Self:
        """Return both together."""
        names = (field.name for field in dataclasses.fields(self))
        return type(self)(**{name: getattr(self, name) + getattr(more, name) for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quota:
    """A limit for each dimension; None: unlimited."""

    leases: int | None = None
    cores: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None
    addresses: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `leases=3,cores=8,memoryMB=8192,diskGB=100,addresses=4`; a part may be left out.

        Raises ValueError for anything else, and for a part that is given twice.
        """
        found: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = _PART.fullmatch(part)
            if match is None:
                raise ValueError(
                    f"must be leases=N,cores=N,memoryMB=N,diskGB=N,addresses=N, not {part[:100]!r}"
                )
            if _FIELDS[match[1]] in found:
                raise ValueError(f"{match[1]} is given twice")
            found[_FIELDS[match[1]]] = int(match[2])
        return cls(**found)

    @property
    def is_unlimited(self) -> bool:
        """Whether there is nothing to check."""
        return self == type(self)()

    def check(self, used: Usage, more: Usage, whose: str) -> None:
        """Raise LimitReached if more than is used would exceed the quota; nothing more never does.

        `whose` names the party in a sentence, such as "one wallet".
        """
        wanted = used.plus(more)
        for name, words in _WORDS.items():
            limit = getattr(self, name)
            if limit is not None and getattr(more, name) and getattr(wanted, name) > limit:
                raise errors.LimitReached(
                    f"This service leases at most {limit} {words} to {whose} at a time. End a"
                    " lease, wait until one expires, or ask for less. Nothing was charged."
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quotas:
    """The operator's quotas. A wallet is new for some hours after its first lease."""

    wallet: Quota = dataclasses.field(default_factory=Quota)
    address: Quota = dataclasses.field(default_factory=Quota)
    new_wallets: Quota = dataclasses.field(default_factory=Quota)
    new_for_seconds: float = 24 * 3600.0
