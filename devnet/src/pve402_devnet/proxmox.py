"""The Proxmox part of a devnet: one node, guests that run shells, and access rights."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from pve402_devnet import command
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.options import HOST, DevnetOptions
from pve402_devnet.pve import SimulatedProxmox, options
from pve402_devnet.terminal.manners import TerminalManners
from pve402_devnet.terminal.service import Consoles
from pve402_devnet.wires.cluster import ClusterNetwork

STORAGE = "local"
TEMPLATE = options.DEBIAN.name
SERVICE_USER = "pve402@pve"
CONSOLE_USER = "console@pve"
TOKEN_NAME = "devnet"  # noqa: S105 - a token's name, not its secret

# The rights that docs/how-to/proxmox-rights.md asks operators for who sell OCI images, snapshots
# and copies, and no more.
ROLES = (
    (
        "R402CloneSnapshotGuests",
        (
            "VM.Allocate",
            "VM.Audit",
            "VM.Clone",
            "VM.Console",
            "VM.PowerMgmt",
            "VM.Snapshot",
            "VM.Config.CPU",
            "VM.Config.Disk",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
        ),
    ),
    ("R402Storage", ("Datastore.AllocateSpace",)),
    ("R402Bridge", ("SDN.Use",)),
    ("R402PullStorage", ("Datastore.AllocateSpace", "Datastore.AllocateTemplate")),
    ("R402PullNode", ("Sys.AccessNetwork", "Sys.Audit")),
    ("R402Console", ("VM.Console",)),
)
GRANTS = (
    ("/vms", SERVICE_USER, "R402CloneSnapshotGuests"),
    (f"/storage/{STORAGE}", SERVICE_USER, "R402PullStorage"),
    (f"/storage/{options.LOCAL_LVM.name}", SERVICE_USER, "R402Storage"),
    ("/sdn/zones/localnetwork/vmbr0", SERVICE_USER, "R402Bridge"),
    ("/nodes/pve", SERVICE_USER, "R402PullNode"),
    ("/vms", CONSOLE_USER, "R402Console"),
)


class GuestsRefused(command.CannotStart):
    """This machine does not let guests have namespaces of their own; the text says what to do."""


@dataclass(frozen=True, kw_only=True)
class ProxmoxPart:
    """A simulated Proxmox with everything behind it."""

    api: SimulatedProxmox
    guests: NamespaceRuntime
    consoles: Consoles
    console_password: str = field(repr=False)

    async def start(self) -> None:
        """Check that guests can run, then listen.

        Raises:
            GuestsRefused: guests cannot be kept apart from this machine, or have no network.
            OSError: the port is taken.
        """
        try:
            await self.guests.check()
            await self.api.start()
        except RuntimeError as error:
            raise GuestsRefused(str(error)) from error

    async def stop(self) -> None:
        """End consoles, guests and the API."""
        await self.api.stop()
        self.consoles.close()
        await self.guests.close()

    def settings(self, *, old: bool) -> dict[str, str]:
        """The settings that `pve402 serve` needs for it."""
        known = {
            "PVE_HOST": self.api.base_url,
            "PVE_TOKEN_ID": self.api.token_id,
            "PVE_TOKEN_SECRET": self.api.token_secret,
            "PVE_NODE": "pve",
            "PVE_STORAGE": STORAGE,
            "PVE_OS_TEMPLATE": f"{STORAGE}:vztmpl/{TEMPLATE}",
            "PVE_VERIFY_SSL": "false",
        }
        if old:
            known["PVE_CONSOLE_USER"] = CONSOLE_USER
            known["PVE_CONSOLE_PASSWORD"] = self.console_password
        return known


def make(chosen: DevnetOptions, disks: Path) -> ProxmoxPart:
    """Build it without starting it; guests keep their files below `disks`."""
    guests = NamespaceRuntime(
        RuntimeOptions(
            disks=str(disks), programs=chosen.guest_root, unsafe_shells=chosen.unsafe_shells
        )
    )
    consoles = Consoles(guests, TerminalManners(refuses_tokens=chosen.old_proxmox))
    password = secrets.token_urlsafe(18)
    api = SimulatedProxmox(
        _simulator_options(chosen, password),
        guest_runtime=guests,
        terminal=consoles,
        network=(
            ClusterNetwork(guests, serves=True, uplinks=chosen.uplinks) if chosen.network else None
        ),
    )
    return ProxmoxPart(api=api, guests=guests, consoles=consoles, console_password=password)


def _simulator_options(chosen: DevnetOptions, password: str) -> options.SimulatorOptions:
    return options.SimulatorOptions(
        host=HOST,
        port=chosen.pve_port,
        latency_scale=chosen.latency_scale,
        exec_endpoint=chosen.exec_api,
        storages=(options.StorageOptions(), options.LOCAL_LVM),
        templates=(options.DEBIAN, *options.TEMPLATES),
        access=options.AccessOptions(
            passwords=((CONSOLE_USER, password),),
            roles=ROLES,
            tokens=(
                options.TokenOptions(user=SERVICE_USER, name=TOKEN_NAME, privilege_separated=False),
            ),
            acl=tuple(
                options.AclOptions(path=path, who=who, role=role) for path, who, role in GRANTS
            ),
        ),
    )
