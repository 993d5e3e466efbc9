"""What a run of the kill loop is told, and what it comes to."""

import dataclasses
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from tests.chaos import crash_points, stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How far a run goes: so many leases, and no longer than that."""

    database_url: str
    replicas: int = 1
    leases: int = 100
    tenants: int = 12
    most_seconds: float = 90.0  # of load; the calm afterwards has limits of its own
    least_leases: int = 0  # four times as long for these, if need be
    least_kills: int = 0  # and for these
    settle_seconds: float = 150.0  # a dead task's lock is waited for 40 s, at least once
    seed: int = 402
    life_seconds: float = 3.0  # of a server, about
    stall_seconds: float = 0.0  # servers stand still now and then, for about so long
    spared: int = 0  # servers that are not killed
    ending: signal.Signals = signal.SIGKILL
    weather: bool = True  # outside systems fail
    pause_seconds: float = 0.0  # of a tenant between two leases, at most
    spoiled_share: float = 0.1  # of payments, made worthless by their senders
    contract_share: float = 0.2  # of leases, paid by contract wallets, most of which lie
    unpaid_seconds: float = 60.0  # of a server's time: 40 to create, 5 to settle, and some to stop
    blocks_vanish: bool = False  # so what was seen in an answer's moment may be gone the next
    expiry: bool = True  # afterwards hours pass, and all must be stopped and gone
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    before: Callable[[stage.Stage], Awaitable[None]] | None = None
    during: Callable[[stage.Stage], Awaitable[None]] | None = None  # beside the load, for ever


@dataclasses.dataclass(kw_only=True)
class Figures:
    """What a run came to."""

    leases: int = 0
    renewals: int = 0
    refused: Counter[str] = dataclasses.field(default_factory=Counter)
    spoiled: Counter[str] = dataclasses.field(default_factory=Counter)
    contracts: Counter[str] = dataclasses.field(default_factory=Counter)
    switched: Counter[str] = dataclasses.field(default_factory=Counter)
    kept: Mapping[str, int] = dataclasses.field(default_factory=dict)  # what was done to leases
    lives: Counter[str] = dataclasses.field(default_factory=Counter)  # of leases, by kind
    unpaid_seconds: float = 0.0  # of the guest that ran unpaid for longest
    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    stalls: int = 0
    weather: Counter[str] = dataclasses.field(default_factory=Counter)
    answers: Mapping[str, int] = dataclasses.field(default_factory=dict)
    transfers: int = 0
    leftovers: int = 0  # guests locked for creation by tasks that died
    load_seconds: float = 0.0
    calm_seconds: float = 0.0
    over_seconds: float = 0.0
    exit_codes: list[int] = dataclasses.field(default_factory=list)
    violations: list[str] = dataclasses.field(default_factory=list)

    def table(self) -> str:
        """The figures for people."""
        return "\n".join([*self._totals(), *self._kills(), *self._counts(), *self._ends()])

    def _totals(self) -> list[str]:
        return [
            f"leases {self.leases}, renewals {self.renewals}, transfers {self.transfers}",
            f"load {self.load_seconds:.0f} s, at rest {self.calm_seconds:.0f} s later",
            f"longest time an unpaid guest ran while a server served: {self.unpaid_seconds:.1f} s",
            f"hours later, all was stopped and gone after {self.over_seconds:.0f} s",
        ]

    def _kills(self) -> list[str]:
        points = len(set(self.kills) & set(crash_points.POINTS))
        missed = sorted(set(crash_points.POINTS) - set(self.kills))
        lines = [
            f"kills {self.kills.total()}, stalls {self.stalls}",
            f"crash points come to: {points} of {len(crash_points.POINTS)}",
        ]
        lines += [f"  {count:5} {point}" for point, count in sorted(self.kills.items())]
        if len(missed) < points:
            lines.append(f"points never come to: {', '.join(missed) or 'none'}")
        return lines

    def _counts(self) -> list[str]:
        titled: tuple[tuple[str, Mapping[str, int]], ...] = (
            ("bad payments", self.spoiled),
            ("contracts' payments", self.contracts),
            ("power", self.switched),
            ("done to leases", self.kept),
            ("kinds of leases", self.lives),
            ("refused orders", self.refused),
            ("weather", self.weather),
            ("answers", self.answers),
        )
        return [
            f"{title}: " + ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
            for title, counted in titled
        ]

    def _ends(self) -> list[str]:
        return [
            f"guests left locked for creation: {self.leftovers}",
            f"exit codes after SIGTERM: {self.exit_codes}",
            f"violations: {len(self.violations)}",
            *(f"  {words}" for words in self.violations[:40]),
        ]
