"""An administrator at the keyboard, and the shell of a node that needs no network."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.keyboards import Keyboard

from pve402.proxmox.administration import Administration, Change
from pve402.setup import switching
from pve402_devnet.pve import simulator

PACE = switching.Pace(
    timer_seconds=1,
    takes_hold_seconds=0.3,
    probe_seconds=1.0,
    slack_seconds=0.2,
    patience_seconds=1.0,
)
"""Of a simulator that looks at its firewall's files many times a second."""


@dataclasses.dataclass(kw_only=True)
class Administrator(Keyboard):
    """Does on the node what the set-up says, and answers as `yes` has it.

    `does` maps parts of what is said to what the administrator does then.
    """

    does: dict[str, Callable[[], None]] = dataclasses.field(default_factory=dict)

    def tell(self, text: str) -> None:
        """Act on it."""
        super().tell(text)
        for part, act in self.does.items():
            if part in text:
                act()


class Killed(BaseException):
    """The process ends here."""


@contextlib.contextmanager
def killed_at(number: int, *, after: bool, part: str = "") -> Iterator[None]:
    """Kill what runs in the block before or after a change, counted from 0.

    Only changes whose path has this part count.
    """
    honest, made = Administration.make, 0

    async def make(self: Administration, change: Change) -> object:
        nonlocal made
        is_last = part in change.path and made == number
        made += part in change.path
        if is_last and not after:
            raise Killed
        answer = await honest(self, change)
        if is_last:
            raise Killed
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Administration, "make", make)
        with pytest.raises(Killed):
            yield


def administrator(proxmox: simulator.SimulatedProxmox, **changes: Any) -> Administrator:
    """Somebody who knows root's password and agrees to everything."""
    chosen: dict[str, Any] = {"answers": {}, "secrets": {"Password": proxmox.root_password}}
    return Administrator(**{**chosen, **changes})


def type_on_node(proxmox: simulator.SimulatedProxmox, line: str) -> None:
    """Run the `pvesh set` command of a line on the node itself, which no firewall is before."""
    words = shlex.split(line)
    place = words.index("pvesh")
    assert words[place : place + 3] == ["pvesh", "set", "/cluster/firewall/options"]
    name, value = words[place + 3 :]
    proxmox.world.firewalls.cluster.options[name.removeprefix("--")] = int(value)
