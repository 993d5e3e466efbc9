"""Which guests, containers and virtual machines, are filtered once the datacenter's firewall is on.

A guest is filtered if the firewall is on in its options and a card of it has `firewall=1`.
"""

import re
from dataclasses import dataclass, replace

from pve402.proxmox import answers, errors, parameters, shapes
from pve402.proxmox.client import ProxmoxClient

_GUESTS = answers.Call(method="GET", path="/cluster/resources")
_CARD = re.compile(r"net\d+")


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """A guest that is filtered, or may be: with a `problem`, it could not be read."""

    kind: str  # lxc or qemu
    vmid: int
    name: str
    node: str
    policy_in: str = "DROP"
    policy_out: str = "ACCEPT"
    problem: str = ""


class GuestFilters:
    """Looks for guests that the firewall filters; needs VM.Audit on all of them."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def filtered(self) -> tuple[Filtered, ...]:
        """The guests in the order of their numbers; two calls for each that has such a card."""
        rows = shapes.as_rows(await self._client.call("GET", _GUESTS.path, {"type": "vm"}), _GUESTS)
        guests = [_named(row) for row in rows if not shapes.optional_whole(row, "template")]
        looked = [await self._look(guest) for guest in sorted(guests, key=lambda one: one.vmid)]
        return tuple(guest for guest in looked if guest is not None)

    async def _look(self, guest: Filtered) -> Filtered | None:
        try:
            return await self._read(guest)
        except errors.ProxmoxError as error:
            return replace(guest, problem=error.message)

    async def _read(self, guest: Filtered) -> Filtered | None:
        config = await self._object(guest, "config")
        cards = [str(value) for name, value in config.items() if _CARD.fullmatch(name)]
        if not any("firewall=1" in card.split(",") for card in cards):
            return None
        options = await self._object(guest, "firewall", "options")
        if shapes.optional_whole(options, "enable") != 1:
            return None
        return replace(
            guest,
            policy_in=shapes.optional_text(options, "policy_in") or guest.policy_in,
            policy_out=shapes.optional_text(options, "policy_out") or guest.policy_out,
        )

    async def _object(self, guest: Filtered, *segments: str) -> shapes.Fields:
        path = parameters.api_path("nodes", guest.node, guest.kind, guest.vmid, *segments)
        call = answers.Call(method="GET", path=path)
        return shapes.as_object(await self._client.call("GET", path), call)


def _named(row: shapes.Fields) -> Filtered:
    return Filtered(
        kind=shapes.text(row, "type", _GUESTS),
        vmid=shapes.whole(row, "vmid", _GUESTS),
        name=shapes.optional_text(row, "name"),
        node=shapes.text(row, "node", _GUESTS),
    )
