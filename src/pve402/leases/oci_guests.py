"""Makes guests of OCI images live, and gives their consoles a shell.

Proxmox VE runs what the image says as the guest's first program, with the console on it, whatever
was sent in the create call; on a running guest a change would wait for a restart. So both are put
back after the guest was created and before anything starts it. What the image says of its user, its
working directory and its stop signal stands in lines that no call can change.
"""

from typing import Final

from pve402.domain import lease, mark, oci
from pve402.leases import machine, options, workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests

ENTRYPOINT: Final = (
    '/bin/sh -c \'trap "exit 0" 2 3 10 12 15 30;'
    " while :; do sleep 86400 & wait $!; case $? in 126|127) exit 1;; esac; done'"
)
"""The first program of such guests: it waits for its children, which it reaps, and for ever; it
ends at the usual stop signals, by their numbers, which each shell knows. It needs `sleep`."""

HOST_MANAGED: Final = "host-managed=1"
"""What a card gets whose guest is no system that would set its address itself."""
OPTIONS: Final = frozenset({"entrypoint", "env", "lxc"})
"""What guests of OCI images have besides the options of others."""
_LINES: Final = frozenset(
    {"lxc.init.uid", "lxc.init.gid", "lxc.init.groups", "lxc.init.cwd", "lxc.signal.halt"}
)


class OciGuests:
    """Completes guests; does nothing to those of templates."""

    def __init__(
        self,
        guests: pve_guests.Guests,
        machines: machine.Machines,
        settings: options.LeaseOptions,
    ) -> None:
        self._guests = guests
        self._machines = machines
        self._settings = settings

    async def complete(self, row: lease.Lease) -> None:
        """Write what a created guest lacks, and read it back; the guest is down, and may stay so.

        May run twice. Raises RetryLater while it is not as it should be, ProxmoxErrors: for a guest
        that somebody started, changes would only be noted, and look as if they were made.
        """
        if not oci.is_file(row.template):
            return
        config = await self._read(row)
        changes = self._changes(row, config)
        if changes:
            if await self._machines.look(row) is machine.Sight.RUNNING:
                raise pve.ProxmoxFault(f"guest {row.vmid} was started with its image's own program")
            await self._guests.update_config(_ref(row), changes, digest=config.digest)
            config = await self._read(row)
        if lacking := sorted(self._changes(row, config)):
            raise workflow.RetryLater(f"the guest has another {', '.join(lacking)}")

    def _changes(self, row: lease.Lease, config: pve_guests.GuestConfig) -> dict[str, str]:
        wanted = living(config)
        if row.has_card:
            card = self._machines.spec(row, row.created_at).network.property_string()
            has, lacks = parts(config.values.get("net0", "")), parts(card)
            if has != lacks:
                wanted["net0"] = _with_address(card, config)
        return {name: text for name, text in wanted.items() if config.values.get(name) != text}

    async def _read(self, row: lease.Lease) -> pve_guests.GuestConfig:
        config = await self._guests.config(_ref(row))
        if not mark.is_marked(config.tags, self._settings.instance, row.lease_id):
            raise pve.GuestMissing(f"guest {row.vmid} is not the lease's")
        if config.lock:
            raise pve.GuestLocked(f"guest {row.vmid} is locked ({config.lock})")
        return config


def living(config: pve_guests.GuestConfig) -> dict[str, str]:
    """Return the console and the first program of a guest whose image has a program of its own.

    An image that begins with /sbin/init is a system like any other.
    """
    own = {"entrypoint": ENTRYPOINT} if "entrypoint" in config.values else {}
    return {"cmode": "shell", **own}


def has_strange_lines(config: pve_guests.GuestConfig) -> bool:
    """Whether a guest has lines for LXC that no image makes."""
    return any(name not in _LINES for name, _ in config.raw)


def parts(card: str) -> list[str]:
    """Return the parts of a card in one order, but for what it gets by itself."""
    found = sorted(part.strip() for part in card.split(","))
    own = {"firewall=0", HOST_MANAGED}
    return [part for part in found if part not in own and not part.startswith("hwaddr=")]


def _with_address(card: str, config: pve_guests.GuestConfig) -> str:
    """Return a card with the hardware address and the management that the guest's own has."""
    own = config.values.get("net0", "").split(",")
    kept = [part for part in own if part.startswith("hwaddr=") or part == HOST_MANAGED]
    return ",".join([card, *kept])


def _ref(row: lease.Lease) -> pve_guests.GuestRef:
    return pve_guests.GuestRef(node=row.node, vmid=row.vmid)
