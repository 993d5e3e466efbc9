"""What the warm pool keeps: a number of guests of one sku and size, created in advance."""

import dataclasses
import re

from pve402.domain import catalogue, lease

MOST_GUESTS = 1000
_FORM = re.compile(r"([^\s:,=]{1,64}):(\d{1,4}):(\d{1,8}):(\d{1,6})=(\d{1,4})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmKind:
    """One kind of guest, and how many of them to keep ready."""

    sku: str
    size: lease.Size
    count: int

    @classmethod
    def parse(cls, text: str) -> "WarmKind":
        """Parse `sku:cores:memoryMB:diskGB=count`; raises ValueError for anything else."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"must be sku:cores:memoryMB:diskGB=count, not {text[:100]!r}")
        cores, memory_mb, disk_gb, count = (int(number) for number in match.groups()[1:])
        if not 1 <= count <= MOST_GUESTS:
            raise ValueError(f"the count must be 1 to {MOST_GUESTS}")
        size = lease.Size(cores=cores, memory_mb=memory_mb, disk_gb=disk_gb)
        return cls(sku=match[1], size=size, count=count)

    def check(self, sku_catalogue: catalogue.Catalogue) -> None:
        """Raise the InvalidRequest that a tenant would get when buying a guest of this kind."""
        sku = sku_catalogue.sku(self.sku)
        sku.check(self.size, sku.runtime_minutes.least)
