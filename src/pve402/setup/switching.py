"""Switches the datacenter's firewall on, with a way back that needs neither us nor the network.

What may go wrong is that the node does not answer any more, to us or to anybody. So a timer on the
node switches the firewall off again, unless the operator stops it once everything works.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pve402.proxmox import administration, errors
from pve402.setup import reach
from pve402.setup.operator import Cancelled, Operator

EXIT_FAILED, EXIT_NOT_DONE = 1, 2
UNIT = "pve402-firewall-off"
OFF = "pvesh set /cluster/firewall/options --enable 0"
STOP = f"systemctl stop {UNIT}.timer"
_ROUNDS = 3
_START = (
    "\nSwitching the firewall on can cut off the nodes, also from you. Start this timer first, in a"
    " root shell on {node}. It switches the firewall off again after {seconds} s:\n\n  {line}\n"
)
_LATE = "That took {took:.0f} s, so the timer may be over soon, or already. Start it again."
_CUT = (
    "\nThe firewall is on, and {doors} does not answer from here any more. Leave the timer alone:"
    " it switches the firewall off again within {seconds:.0f} s. Waiting for that."
)
_BACK = (
    "\nThe firewall is off again, and the node answers. The rules that were made stay; they filter"
    " nothing while it is off. Most likely the node sees this machine under another address, behind"
    " a router for example. See which one, on the node:\n\n  ss -tn 'sport = :8006'\n\nThen run the"
    " same again with --from and that address."
)
_LOST = (
    "\nThe node does not answer. On its own console (not over the network), type:\n\n"
    f"  {OFF}\n\nIf that says that there is no quorum, type `pve-firewall stop` on every node."
)
_PERHAPS_LATER = (
    "\nProxmox VE did not say whether it switches the firewall on, and may do so after the timer"
    " is over. Start the timer again on {node}, let it run out, and run the same again:\n\n  {line}"
)
_STAYS = (
    "\nWith the firewall on, {doors} answers from here. Try it from where you work too: open a new"
    " SSH session and reload the web interface. If both work, stop the timer on {node}:\n\n"
    f"  {STOP}\n"
)
_LEFT = (
    "\nThen leave the timer alone: it switches the firewall off again. Add what is missing (--from"
    " for an address, a rule for a service), and run the same again."
)
_RAN_OUT = (
    "\nThe timer has switched the firewall off again, so nothing is isolated yet. Everything else"
    " is in place: run the same again, and stop the timer when you are told to."
)


def timer_line(seconds: int) -> str:
    """Return the command that switches the firewall off after some seconds; it replaces itself."""
    return (
        f"{STOP} 2>/dev/null; systemd-run --on-active={seconds}"
        f" --timer-property=AccuracySec=1s --unit={UNIT} --collect {OFF}"
    )


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long things take, in seconds, and the clock."""

    timer_seconds: int = 60
    takes_hold_seconds: float = 11.0  # Proxmox VE looks at its rules every 10 s
    probe_seconds: float = 4.0
    slack_seconds: float = 3.0  # from a timer's time until its command has run
    patience_seconds: float = 30.0  # for a node that should be back by now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def latest_start_seconds(self) -> float:
        """The longest time since a timer was named after which it still covers all our tests."""
        return self.timer_seconds / 2


@dataclass(frozen=True, kw_only=True)
class Switch:
    """The firewall of one datacenter, and how to reach it.

    `read` says over a new connection whether it is on; `make` makes a change. Both raise
    ProxmoxError. `doors` are the ports that have to answer; the first is the API.
    """

    node: str
    doors: Sequence[reach.Door]
    operator: Operator
    read: Callable[[], Awaitable[bool]]
    make: Callable[[administration.Change], Awaitable[object]]
    pace: Pace

    async def on(self) -> int:
        """Switch it on behind a timer and test; return the exit status.

        Raises Cancelled if the operator does not start the timer, ProxmoxError if Proxmox VE
        refuses. A process that is killed on the way leaves the timer behind.
        """
        pace = self.pace
        doors = await self._working_doors()
        runs_since = await self._have_timer_started()
        over_at = runs_since + pace.timer_seconds + pace.slack_seconds
        has_answered = await self._enable()
        await pace.sleep(pace.takes_hold_seconds)
        cut = await self._cut(doors)
        if cut:
            return await self._come_back(cut, over_at)
        if not has_answered and not await self._is_on():
            line = timer_line(pace.timer_seconds)
            self.operator.tell(_PERHAPS_LATER.format(node=self.node, line=line))
            return EXIT_FAILED
        return await self._keep(doors, over_at)

    async def _working_doors(self) -> list[reach.Door]:
        """Return the doors that are open now; only those can be seen to stay open."""
        found = await reach.answering(self.doors, self.pace.probe_seconds)
        if self.doors[0] not in found:
            raise errors.Unreachable(f"{self.doors[0].name} takes no new connection")
        for door in self.doors:
            if door not in found:
                self.operator.tell(f"{door.name} does not answer from here, so it is not tested.")
        return found

    async def _have_timer_started(self) -> float:
        """Return when the operator said that the timer runs; it was started before that."""
        line = timer_line(self.pace.timer_seconds)
        for _ in range(_ROUNDS):
            shown_at = self.pace.clock()
            text = _START.format(node=self.node, seconds=self.pace.timer_seconds, line=line)
            self.operator.tell(text)
            if not self.operator.agrees("Has it said that the timer runs? Then switch on now?"):
                break
            took = self.pace.clock() - shown_at
            if took <= self.pace.latest_start_seconds:
                return self.pace.clock()
            self.operator.tell(_LATE.format(took=took))
        raise Cancelled(
            "The firewall stays off. The rules stay, and filter nothing until it is on."
        )

    async def _enable(self) -> bool:
        """Switch it on; False if there was no answer, so that it may still happen, and late."""
        try:
            await self.make(administration.switch_firewall(on=True))
        except errors.OutcomeUnknown as error:
            self.operator.tell(str(error))
            return False
        return True

    async def _cut(self, doors: Sequence[reach.Door]) -> list[reach.Door]:
        """Return the doors that do not answer any more; the API has to answer a call."""
        opened = await reach.answering(doors, self.pace.probe_seconds)
        cut = [door for door in doors if door not in opened]
        if doors[0] in opened and await self._is_on() is None:
            return [doors[0], *cut]
        return cut

    async def _is_on(self) -> bool | None:
        """Return whether it is on; None if there is no answer."""
        try:
            return await self.read()
        except errors.ProxmoxError:
            return None

    async def _come_back(self, cut: Sequence[reach.Door], over_at: float) -> int:
        """Wait until the firewall is off, and say how it went."""
        pace = self.pace
        left = max(0.0, over_at - pace.clock()) + pace.takes_hold_seconds
        self.operator.tell(_CUT.format(doors=_listed(cut), seconds=left))
        if self.doors[0] not in cut:
            with contextlib.suppress(errors.ProxmoxError):  # then the timer does it
                await self.make(administration.switch_firewall(on=False))
        give_up_at = pace.clock() + left + pace.patience_seconds
        while pace.clock() < give_up_at:
            if await self._is_off_and_open(cut):
                self.operator.tell(_BACK)
                return EXIT_FAILED
            await pace.sleep(min(1.0, pace.takes_hold_seconds))
        self.operator.tell(_LOST)
        return EXIT_FAILED

    async def _is_off_and_open(self, cut: Sequence[reach.Door]) -> bool:
        opened = await reach.answering(cut, self.pace.probe_seconds)
        return opened == [*cut] and await self._is_on() is False

    async def _keep(self, doors: Sequence[reach.Door], over_at: float) -> int:
        """Have the timer stopped, and look again when it would have been over."""
        pace = self.pace
        if await self._is_on():
            self.operator.tell(_STAYS.format(doors=_listed(doors), node=self.node))
            if not self.operator.agrees("Do both work, and is the timer stopped?"):
                self.operator.tell(_LEFT)
                return EXIT_NOT_DONE
            self.operator.tell("Looking once more when the timer would have been over.")
            await pace.sleep(max(0.0, over_at - pace.clock()))
        return self._told(await self._is_on())

    def _told(self, is_on: bool | None) -> int:
        """Say how it ended; None is no answer. Return the exit status."""
        if is_on:
            self.operator.tell("The datacenter's firewall is on, and stays on.")
            return 0
        self.operator.tell(_LOST if is_on is None else _RAN_OUT)
        return EXIT_FAILED


def _listed(doors: Sequence[reach.Door]) -> str:
    return ", ".join(door.name for door in doors)
