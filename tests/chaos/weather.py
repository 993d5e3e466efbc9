"""Bad weather: faults of Proxmox and of the facilitator, one after another, at random."""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable

from tests.chaos import stage

_CREATE = r"^POST /nodes/[^/]+/lxc$"
_CLONE = r"^POST /nodes/[^/]+/lxc/\d+/clone$"
_START = r"^POST .*/status/start$"
_DOWN = r"^POST .*/status/(shutdown|stop)$"
_DELETE = r"^DELETE /nodes/[^/]+/lxc/\d+$"
_ANY = r"^(GET|POST|PUT|DELETE) /nodes/.*"

FACILITATOR = (
    "slow",
    "unavailable",
    "error_after_transfer",
    "malformed",
    "wrong_shape",
    "nested",
    "lying_yes",
    "borrowed_yes",
    "lying_no",
    "wrong_payer",
    "wrong_network",
    "pending",
    "pending_lost",
)


@dataclasses.dataclass(kw_only=True)
class Weather:
    """Orders faults until it is told that it is enough."""

    where: stage.Stage
    dice: random.Random
    pause_seconds: float = 0.6
    happened: dict[str, int] = dataclasses.field(default_factory=dict)

    async def blow(self) -> None:
        """Order one fault after another, for ever."""
        kinds: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("locked", self._locked),
            ("lost answers", self._lost_answer),
            ("lost calls", self._lost_call),
            ("596 on creation", self._gateway),
            ("slow calls", self._slow),
            ("failing tasks", self._failing_task),
            ("killed creations", self._killed_creation),
            ("lost quorum", self._no_quorum),
            ("root clears locks", self.where.clear_creation_locks),
            ("full storage", self._full_storage),
            ("facilitator", self._facilitator),
            ("facilitator", self._facilitator),
            ("facilitator", self._facilitator),
        ]
        while True:
            await asyncio.sleep(self.dice.uniform(0.2, 2 * self.pause_seconds))
            name, order = self.dice.choice(kinds)
            await order()
            self.happened[name] = self.happened.get(name, 0) + 1

    async def _locked(self) -> None:
        pattern = self.dice.choice((_START, _DOWN, _DELETE))
        await self._fault(pattern, "locked", text="backup", times=2)

    async def _lost_answer(self) -> None:
        pattern = self.dice.choice((_CREATE, _CLONE, _START, _DOWN, _DELETE, _ANY))
        await self._fault(pattern, "drop", executed=True)

    async def _lost_call(self) -> None:
        pattern = self.dice.choice((_CREATE, _CLONE, _START, _DOWN, _DELETE, _ANY))
        await self._fault(pattern, "drop")

    async def _gateway(self) -> None:
        pattern = self.dice.choice((_CREATE, _CREATE, _CLONE, _START, _DELETE))
        await self._fault(pattern, "596", executed=self.dice.random() < 0.5)

    async def _slow(self) -> None:
        await self._fault(_ANY, "slow", seconds=self.dice.uniform(0.5, 2.0), times=3)

    async def _failing_task(self) -> None:
        kind = self.dice.choice(("vzcreate", "vzclone", "vzstart", "vzshutdown", "vzdestroy"))
        executed = kind == "vzclone" or self.dice.random() < 0.4  # else it leaves its source locked
        fault = {"type": kind, "text": "simulated failure", "executed": executed}
        await self.where.control("/state", {"failTasks": [fault]})

    async def _killed_creation(self) -> None:
        await self.where.control("/state", {"killCreates": 1})

    async def _no_quorum(self) -> None:
        await self.where.control("/state", {"quorate": False})
        await asyncio.sleep(self.dice.uniform(0.3, 1.0))
        await self.where.control("/state", {"quorate": True})

    async def _full_storage(self) -> None:
        await self.where.control("/state", {"fullStorages": ["local"]})
        await asyncio.sleep(self.dice.uniform(0.2, 0.6))
        await self.where.control("/state", {"fullStorages": []})

    async def _facilitator(self) -> None:
        kind = self.dice.choice(FACILITATOR)
        endpoint = "verify" if self.dice.random() < 0.2 else "settle"
        await self.where.facilitator_fault(kind, endpoint, delaySeconds=1.0)

    async def _fault(self, pattern: str, kind: str, **more: object) -> None:
        await self.where.control("/faults", {"pattern": pattern, "kind": kind, **more})
