"""Answers an abuse mail: which lease, wallet and payment had an address at a time."""

import dataclasses
import ipaddress
import json
import sys
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console

from pve402 import bootstrap
from pve402.domain import lease
from pve402.ops import screen
from pve402.storage import address_rows

EXIT_UNKNOWN: Final = 1
EXIT_REFUSED: Final = 2
_NOBODYS: Final = {
    lease.NOBODY: "nobody: it was kept ready",
    lease.DOCTOR: "nobody: the doctor tried it",
    lease.IMAGE: "nobody: an image was prepared in it",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Who:
    """An address, and the time that is asked about; None: its whole history."""

    address: str
    at: str | None = None
    as_json: bool = False

    async def run(self, parts: bootstrap.Components, console: Console) -> int:
        """Print a line for each holder, newest first; 1 if nobody had the address."""
        try:
            address, at = str(ipaddress.ip_address(self.address.strip())), _moment(self.at)
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            return EXIT_REFUSED
        async with parts.db.read() as tx:
            found = await address_rows.list_holdings(tx, address, at)
        if self.as_json:
            sys.stdout.write(json.dumps([_facts(one) for one in found], indent=2) + "\n")
        elif found:
            for one in found:
                console.print(screen.plain(_line(one)), soft_wrap=True)
            self._say_what_to_do(console, found[0])
        else:
            when = f" at {_shown(at)}" if at is not None else ""
            console.print(f"no lease had {address}{when}")
        return 0 if found else EXIT_UNKNOWN

    def _say_what_to_do(self, console: Console, newest: address_rows.Holding) -> None:
        if newest.released_at is None and (newest.owner or lease.NOBODY) not in _NOBODYS:
            console.print(f"to stop it: pve402 ops suspend {newest.lease_id} --reason ...")


def _moment(text: str | None) -> datetime | None:
    """Read an ISO 8601 time; without an offset it is UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        form = "2026-11-29T08:15:00Z, or with an offset such as +01:00"
        raise ValueError(f"{text[:60]!r}: give the time as {form}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _line(one: address_rows.Holding) -> str:
    until = _shown(one.released_at) if one.released_at is not None else "now"
    paid = f", paid by {one.transaction}" if one.transaction else ""
    whose = _NOBODYS.get(one.owner or lease.NOBODY) or f"wallet {one.owner}{paid}"
    span = f"from {_shown(one.taken_at)} to {until}"
    return f"{one.address} ({one.network}): lease {one.lease_id}, {whose}, {span}"


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _facts(one: address_rows.Holding) -> dict[str, Any]:
    facts = dataclasses.asdict(one)
    for name in ("taken_at", "released_at"):
        facts[name] = None if facts[name] is None else facts[name].isoformat()
    return facts
