"""From the paid request to the first command's answer and to the first packet, in each way.

    python -m tests.bench first_command [--beside CHECKOUT] [--few] [--only WORDS]

CHECKOUT is another checkout of this project with its own `.venv`, usually of an earlier commit: its
server is measured in turns with ours, in the same world. Chain, facilitator and Proxmox VE are
simulated, with the times of latencies.toml; the settings are the usual ones apart from limits.
`--few` takes a tenth of the turns, `--only` those phases whose names contain the words.

A first packet is a question about a name that a program in the container asks until somebody on
the simulated internet answers. In bursts, where cards of so many containers would keep the machine
busy, it is the moment in which the service notes that the container's card was switched on.
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import requests
from tests.bench import rows, ways

TURNS = 50
BURSTS = (30, 100)
EVERY_SECONDS = 1.0
WAYS = (
    ways.Way(name="unpacked"),
    ways.Way(name="linked clone", links=True),
    ways.Way(name=f"out of a pool of {ways.POOL}", pool=ways.POOL),
)
REPLICAS = ways.Way(name="unpacked by three replicas", replicas=3)
BODY = {
    "sku": ways.SKU,
    "runtimeMinutes": 60,
    "cores": 1,
    "memoryMB": 128,
    "diskGB": 1,
    "password": "root_password_here",
}
COMMAND, PACKET = "the first command's answer", "the first packet"
_PATIENCE_SECONDS = 300.0
_CONNECTED = "guest_connected"
_KNOCKING = """
import socket, time
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(0.05)
question = bytes.fromhex("0001 0100 0001 0000 0000 0000") + b"\\x08internet\\x04test\\0\\0\\1\\0\\1"
while True:
    try:
        asking.sendto(question, ("203.0.113.9", 53))
        if asking.recv(512):
            break
    except TimeoutError:
        continue
    except OSError:
        time.sleep(0.05)
print("through")
"""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """So many leases in one way: all at once, or one after another at even times."""

    way: ways.Way
    number: int
    is_burst: bool

    @property
    def name(self) -> str:
        """In words."""
        how = "at once" if self.is_burst else f"one every {EVERY_SECONDS:g} s"
        return f"{self.way.name}, {self.number} {how}"


@dataclass(frozen=True, kw_only=True)
class Side:
    """A version to measure, and its seconds by phase and by what they last until."""

    name: str
    python: str
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Bought:
    """A lease that answered a command; times are of time.time()."""

    lease_id: str
    began: float
    answered: float
    packet: float | None = None


def measure(folder: Path, arguments: Sequence[str]) -> list[rows.Row]:
    """Measure ours, and the other version if there is one, in turns."""
    sides = [Side(name="ours", python=sys.executable)]
    if "--beside" in arguments:
        other = Path(arguments[arguments.index("--beside") + 1])
        sides.append(Side(name="before", python=str(other / ".venv/bin/python")))
    words = arguments[arguments.index("--only") + 1] if "--only" in arguments else ""
    turns = TURNS // 10 if "--few" in arguments else TURNS
    chosen = [phase for phase in phases(turns) if words in phase.name]
    return compare(folder, sides, chosen)


def phases(turns: int) -> list[Phase]:
    """All of them, in the order of the table."""
    single = [Phase(way=way, number=turns, is_burst=False) for way in WAYS]
    bursts = [Phase(way=way, number=size, is_burst=True) for way in WAYS for size in BURSTS]
    return [*single, *bursts, Phase(way=REPLICAS, number=max(BURSTS), is_burst=True)]


def compare(folder: Path, sides: Sequence[Side], chosen: Iterable[Phase]) -> list[rows.Row]:
    """Go through some phases, each with both sides, and give two rows for each."""
    found = []
    for phase in chosen:
        for side in sides:
            _measure(folder, side, phase)
        found += [_row(phase, until, sides) for until in (COMMAND, PACKET)]
    return found


def _measure(folder: Path, side: Side, phase: Phase) -> None:
    """Lease so many containers in a new world; note the seconds of each."""
    pool = min(phase.way.pool, phase.number)
    packets = not phase.is_burst
    with ways.opened(folder, phase.way, python=side.python, packets=packets, pool=pool) as shop:
        buyers = _Buyers(shop, side, phase)
        bought = buyers.all_buy()
        connected = {} if shop.packets else _connections(shop, bought)
        if phase.way.links:
            print(f"   {side.name}: {shop.clones()} of {len(bought)} are clones", flush=True)
    for words, count in Counter(side.refused).items():
        print(f"   {side.name}, {count} refused so far: {words}", flush=True)
    for until, seconds in (
        (COMMAND, [one.answered - one.began for one in bought]),
        (PACKET, [_packet_at(one, connected) - one.began for one in bought]),
    ):
        side.seconds[phase.name, until] = seconds
        print(f"   {side.name}, {phase.name}, to {until}: {_told(seconds)}", flush=True)


def _packet_at(one: Bought, connected: Mapping[str, float]) -> float:
    """When a packet could pass, which is of use only from the command's answer on."""
    if one.packet is not None:
        return one.packet
    return max(one.answered, connected[one.lease_id])


class _Buyers:
    """Tenants who lease a container each, run a command in it, and wait for its network."""

    def __init__(self, shop: ways.Shop, side: Side, phase: Phase) -> None:
        self._shop = shop
        self._side = side
        self._phase = phase
        self._together = threading.Barrier(phase.number)
        servers = shop.servers
        self._doors = [servers[turn % len(servers)] for turn in range(phase.number)]
        self._tenants = [door.tenant() for door in self._doors]

    def all_buy(self) -> list[Bought]:
        """Wait for all of them; those that were refused are noted."""
        with ThreadPoolExecutor(self._phase.number) as threads:
            found = threads.map(self._buy, range(self._phase.number))
            return [one for one in found if one is not None]

    def _buy(self, turn: int) -> Bought | None:
        self._together.wait()
        if not self._phase.is_burst:
            time.sleep(turn * EVERY_SECONDS)
        began = time.time()
        url = f"{self._doors[turn].url}/lease/container"
        told = self._tenants[turn].post(url, json=BODY, timeout=_PATIENCE_SECONDS)
        if told.status_code != 200:
            return self._refuse(told)
        lease = told.json()
        said = self._run(turn, lease, command="echo usable")
        if said.status_code != 200 or said.json()["stdout"] != "usable\n":
            return self._refuse(said)
        answered, packet = time.time(), None
        if self._shop.packets:
            knocked = self._run(turn, lease, command="python3 -", stdin=_KNOCKING)
            if knocked.status_code != 200 or knocked.json()["stdout"] != "through\n":
                return self._refuse(knocked)
            packet = time.time()
        return Bought(lease_id=lease["leaseId"], began=began, answered=answered, packet=packet)

    def _run(self, turn: int, lease: Mapping[str, str], **wanted: str) -> requests.Response:
        return requests.post(
            f"{self._doors[turn].url}/management/exec/{lease['ctid']}",
            json={"timeoutSeconds": 60, **wanted},
            headers={"Authorization": f"Bearer {lease['accessToken']}"},
            timeout=_PATIENCE_SECONDS,
        )

    def _refuse(self, told: requests.Response) -> None:
        self._side.refused.append(f"{told.status_code} {told.text[:100]}")


def _connections(shop: ways.Shop, bought: Sequence[Bought]) -> Mapping[str, float]:
    """When the service noted that each card was switched on; waits for the last of them."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        lines = [json.loads(line) for line in shop.said().splitlines() if f'"{_CONNECTED}"' in line]
        seen = {row["lease"]: datetime.fromisoformat(row["timestamp"]).timestamp() for row in lines}
        if all(one.lease_id in seen for one in bought):
            return seen
        if time.monotonic() > give_up_at:
            raise TimeoutError("some cards are never switched on")
        time.sleep(0.5)


def _row(phase: Phase, until: str, sides: Sequence[Side]) -> rows.Row:
    ours, others = sides[0].seconds[phase.name, until], sides[1:]
    theirs = others[0].seconds[phase.name, until] if others else []
    refused = ", ".join(f"{len(side.refused)} of {side.name}" for side in sides)
    return rows.Row(
        what=f"paid request to {until}, {phase.name}",
        ours=_told(ours),
        beside="the commit before" if others else "-",
        peer=_told(theirs) if others else "-",
        ratio=_ratio(ours, theirs) if others else "-",
        aim=f"none refused (so far {refused})",
    )


def _told(seconds: list[float]) -> str:
    return f"p50 {_part(seconds, 0.5):.2f} s, p95 {_part(seconds, 0.95):.2f} s"


def _ratio(ours: list[float], other: list[float]) -> str:
    return ", ".join(f"{_part(ours, share) / _part(other, share):.2f}" for share in (0.5, 0.95))


def _part(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds) or [float("nan")]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
