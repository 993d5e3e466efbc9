"""Figures of containers that do nothing unless told to, and looks at them as time passes."""

import dataclasses
from typing import Any

import pytest
from tests.support.installation import Installation

from pve402.domain import lease
from pve402_devnet.pve import figures as pve_figures

LOOK_SECONDS = 60.0


@dataclasses.dataclass(kw_only=True)
class Figures:
    """What Proxmox tells of every container that runs; changes hold from the next look on."""

    monkeypatch: pytest.MonkeyPatch
    cpu: Any = 0.002
    sent_a_second: int = 20
    uptime_seconds: int = 10**6
    lock: str = ""
    sent: int = 0
    cpu_of: dict[object, Any] = dataclasses.field(default_factory=dict)  # by vmid, if not as others

    def of(self, shop: Installation) -> None:
        """Have an installation's Proxmox tell these."""
        honest = pve_figures.resource_of

        def told(guest: Any) -> dict[str, object]:
            row = honest(guest)
            if row.get("status") != "running":
                return row
            cpu = self.cpu_of.get(row["vmid"], self.cpu)
            own: dict[str, object] = {"cpu": cpu, "netout": self.sent}
            own["uptime"] = self.uptime_seconds
            return {**row, **own, **({"lock": self.lock} if self.lock else {})}

        self.monkeypatch.setattr(pve_figures, "resource_of", told)
        self.monkeypatch.setattr(shop.parts.lease_reconciler.idle, "is_at_work", _runs_nothing)
        shop.quiet = self  # type: ignore[attr-defined]


async def _runs_nothing(_row: lease.Lease) -> bool:
    return False


@pytest.fixture
def quiet_figures(monkeypatch: pytest.MonkeyPatch) -> Figures:
    """Figures of containers that do nothing."""
    return Figures(monkeypatch=monkeypatch)


async def look(shop: Installation, seconds: float = LOOK_SECONDS) -> lease.Lease:
    """The oldest lease after so much time, a look at the figures, and what it led to."""
    figures: Figures = shop.quiet  # type: ignore[attr-defined]
    figures.sent += int(figures.sent_a_second * seconds)
    shop.pass_time(seconds)
    await shop.proxmox.publish()
    await shop.parts.lease_reconciler.run_once()
    now = await shop.leases_now()
    if any(row.pause_asked_at for row in now):
        await shop.settled_down()
        now = await shop.leases_now()
    return now[0]


async def look_for(shop: Installation, minutes: float) -> lease.Lease:
    """The same after looks every minute for so long."""
    for _ in range(round(minutes * 60 / LOOK_SECONDS) - 1):
        await look(shop)
    return await look(shop)
