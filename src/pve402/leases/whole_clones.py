"""Makes a fresh clone what its lease says, and checks that nothing of its source is left."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from pve402.domain import lease, oci
from pve402.leases import guest_networks, machine, oci_guests, workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests

_WRITTEN: Final = (
    *("hostname", "cores", "cpulimit", "cpuunits", "memory", "swap", "net0", "cmode", "onboot"),
    *("features", "tags", "description", "nameserver", "searchdomain"),
)
"""What a guest of ours is created with, apart from its disk."""
_MADE: Final = frozenset({"arch", "ostype", "rootfs", "unprivileged", "digest"})


class StrangeError(Exception):
    """A clone has options that no guest of ours has, so its base is not as we made it."""


def strange_in(config: pve_guests.GuestConfig, template: str) -> list[str]:
    """Return the options of a base or a clone that no guest of ours is made with."""
    is_oci = oci.is_file(template)
    usual = {*_WRITTEN, *_MADE, "template", *(oci_guests.OPTIONS if is_oci else ())}
    lines = ["lxc"] if is_oci and oci_guests.has_strange_lines(config) else []
    return sorted(config.values.keys() - usual) + lines


class WholeClones:
    """Finishes clones; each step may run twice."""

    def __init__(
        self,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        guest_network: guest_networks.GuestNetworks,
    ) -> None:
        self._machines = machines
        self._guests = guests
        self._networks = guest_network

    async def make(
        self, row: lease.Lease, planned_expiry: datetime, *, had_rules: bool = False
    ) -> None:
        """Write what differs, and read it back; the guest is down throughout.

        Its base may have had a tenant, and so rules of its own.

        Raises StrangeError, RetryLater while the guest is not what it should be, ProxmoxErrors.
        """
        await self._check_down(row)
        wanted = _wanted(self._machines.spec(row, planned_expiry).parameters(row.vmid))
        config = await self._read(row)
        wanted |= _of_oci(row, config, wanted)
        changes, dropped = _differences(config, wanted)
        if changes or dropped:
            await self._guests.update_config(
                _ref(row), changes, delete=dropped, digest=config.digest
            )
            config = await self._read(row)
        if config.has_smaller_disk(row.size.disk_gb):
            async with self._machines.turn_to_write(row.node):
                upid = await self._guests.resize_disk(
                    _ref(row), row.size.disk_gb, digest=config.digest
                )
                await self._machines.wait_until_created(row, upid.text)
            config = await self._read(row)
        if any(_differences(config, wanted)) or config.has_smaller_disk(row.size.disk_gb):
            raise workflow.RetryLater("the clone is not yet what its lease says")
        if "net0" in wanted and "hwaddr=" not in config.values.get("net0", ""):
            raise workflow.RetryLater("the clone's card has no hardware address")
        await self._networks.cleanse(row, had_rules=had_rules)
        await self._check_down(row)

    async def _check_down(self, row: lease.Lease) -> None:
        sight = await self._machines.look(row)
        if sight not in {machine.Sight.UNFINISHED, machine.Sight.STOPPED}:
            raise workflow.RetryLater(f"the clone is {sight.value}")

    async def _read(self, row: lease.Lease) -> pve_guests.GuestConfig:
        config = await self._guests.config(_ref(row))
        if config.lock:
            raise pve.GuestLocked(f"guest {row.vmid} is locked ({config.lock})")
        strange = strange_in(config, row.template)
        if strange:
            raise StrangeError(f"a clone has options of its base: {', '.join(strange)[:200]}")
        return config


def _wanted(form: Mapping[str, object]) -> dict[str, str]:
    """Return the options of a create call, as text."""
    given = {name: form[name] for name in _WRITTEN if form.get(name) is not None}
    return {
        name: str(int(value)) if isinstance(value, bool) else str(value)
        for name, value in given.items()
    }


def _of_oci(
    row: lease.Lease, config: pve_guests.GuestConfig, wanted: Mapping[str, str]
) -> dict[str, str]:
    """Return what a clone of an OCI image needs besides."""
    if not oci.is_file(row.template) or "entrypoint" not in config.values:
        return {}
    card = f"{wanted['net0']},{oci_guests.HOST_MANAGED}"
    return {**oci_guests.living(config), "net0": card}


def _differences(
    config: pve_guests.GuestConfig, wanted: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the options to write, and those to remove; a card keeps its hardware address."""
    found = {name: config.values[name] for name in _WRITTEN if name in config.values}
    found |= {name: config.values[name] for name in wanted if name in config.values}
    found["description"] = config.description
    changes = {
        name: text for name, text in wanted.items() if _parts(found.get(name, "")) != _parts(text)
    }
    address = [part for part in found.get("net0", "").split(",") if part.startswith("hwaddr=")]
    if "net0" in changes and address:
        changes["net0"] = ",".join([changes["net0"], *address])
    return changes, sorted(found.keys() - wanted.keys())


def _parts(text: str) -> list[str]:
    """Return the parts of an option in one order, but for what a card gets by itself."""
    parts = sorted(part.strip() for part in re.split("[,;]", text))
    return [part for part in parts if part != "firewall=0" and not part.startswith("hwaddr=")]


def _ref(row: lease.Lease) -> pve_guests.GuestRef:
    return pve_guests.GuestRef(node=row.node, vmid=row.vmid)
