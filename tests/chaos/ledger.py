"""What tenants keep: everything that they signed, asked for and were told."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tests.chaos import payments, running


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
    """A final answer."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The refusal's code, if it is one."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""


@dataclasses.dataclass(kw_only=True)
class Ledger:
    """Everything that tenants signed, and how far they may go."""

    leases_wanted: int
    give_up_at: float  # of time.monotonic()
    least_leases: int = 0  # where the machine is too busy for them by then, `last_at` ends it
    is_disturbed: Callable[[], bool] = lambda: True  # as much as is wanted; else the same
    last_at: float = 0.0  # of time.monotonic()
    spoiled_share: float = 0.1
    contract_share: float = 0.0
    blocks_vanish: bool = False
    pause_seconds: float = 0.0
    signed: list[payments.Signed] = dataclasses.field(default_factory=list)
    wishes: list[running.Wish] = dataclasses.field(default_factory=list)
    leases: int = 0
    renewals: int = 0
    violations: list[str] = dataclasses.field(default_factory=list)
    statuses: dict[str, int] = dataclasses.field(default_factory=dict)
    asked: dict[str, set[str]] = dataclasses.field(default_factory=dict)  # leases by wish
    kept: Counter[str] = dataclasses.field(default_factory=Counter)

    def goes_on(self) -> bool:
        """Whether tenants should begin something new."""
        return self.leases < self.leases_wanted and not self.is_time_over()

    def is_time_over(self) -> bool:
        """Whether nothing more should be done to a lease, either."""
        return time.monotonic() >= self.ends_at()

    def ends_at(self) -> float:
        """When nothing new is begun any more, as it looks now."""
        is_enough = self.leases >= self.least_leases and self.is_disturbed()
        return self.give_up_at if is_enough else self.last_at

    def count(self, what: str) -> None:
        """Count one answer."""
        self.statuses[what] = self.statuses.get(what, 0) + 1
