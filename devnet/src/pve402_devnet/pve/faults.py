"""Ordered faults: how the next matching calls and tasks fail, instead of or after succeeding."""

import re
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum

from pve402_devnet.pve import errors

_REMEMBERED = 1000


class FaultKind(Enum):
    """What goes wrong with a call."""

    LOCKED = "locked"  # 500 CT is locked (...)
    GATEWAY_TIMEOUT = "596"  # 596, an empty body
    UNREACHABLE = "595"  # 595, an empty body; the call is never executed
    DROP = "drop"  # the connection closes without an answer
    SLOW = "slow"  # a late answer
    ERROR = "error"  # 500 with a text


@dataclass(frozen=True, kw_only=True)
class CallFault:
    """A fault for the next `times` calls whose `METHOD path` a pattern matches.

    With `executed` the call has its effect before the answer is lost. `seconds` is for SLOW,
    `text` for LOCKED (the lock's name) and ERROR.
    """

    pattern: str
    kind: FaultKind
    times: int = 1
    executed: bool = False
    seconds: float = 0.0
    text: str = ""

    def matches(self, method: str, path: str) -> bool:
        """Tell whether a call suffers this fault."""
        return self.times > 0 and re.search(self.pattern, f"{method} {path}") is not None


@dataclass(frozen=True, kw_only=True)
class TaskFault:
    """The next task of a type, such as `vzstart`, fails with a text; with `executed`, too late."""

    type: str
    text: str
    executed: bool = False


@dataclass(kw_only=True)
class Faults:
    """The faults on order, and those that happened."""

    waiting: list[CallFault] = field(default_factory=list)
    waiting_for_tasks: list[TaskFault] = field(default_factory=list)
    happened: deque[tuple[str, str, FaultKind]] = field(
        default_factory=lambda: deque(maxlen=_REMEMBERED)
    )
    kill_creates: int = 0
    refused_live: set[str] = field(default_factory=set)
    """Options that the control groups of running guests refuse, until this is cleared."""

    def order(self, fault: CallFault) -> None:
        """Have a fault happen."""
        self.waiting.append(fault)

    def take(self, method: str, path: str) -> CallFault | None:
        """Take the first fault that a call is due, once."""
        for index, fault in enumerate(self.waiting):
            if fault.matches(method, path):
                self.waiting[index] = replace(fault, times=fault.times - 1)
                self.waiting = [f for f in self.waiting if f.times > 0]
                self.happened.append((method, path, fault.kind))
                return fault
        return None

    def order_for_task(self, fault: TaskFault) -> None:
        """Have a task fail."""
        self.waiting_for_tasks.append(fault)

    def fail_task(self, kind: str, *, executed: bool) -> None:
        """Raise `errors.Failure` where a task of this type is due to fail at this point."""
        for fault in self.waiting_for_tasks:
            if (fault.type, fault.executed) == (kind, executed):
                self.waiting_for_tasks.remove(fault)
                raise errors.Failure(fault.text)

    def take_create_kill(self) -> bool:
        """Tell whether the create worker that asks is to be killed."""
        if self.kill_creates < 1:
            return False
        self.kill_creates -= 1
        return True

    def clear(self) -> None:
        """Drop the faults that have not happened yet."""
        self.waiting.clear()
        self.waiting_for_tasks.clear()
        self.kill_creates = 0
        self.refused_live.clear()
