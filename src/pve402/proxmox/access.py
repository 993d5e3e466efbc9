"""Access: which privileges we have, and users whose only right is one guest's console."""

from collections.abc import Mapping
from dataclasses import dataclass

from pve402.proxmox import answers, errors, parameters, shapes
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guests import GuestRef
from pve402.proxmox.login import Ticket

PLAIN_BRIDGES = "localnetwork"
"""The SDN zone of a node's own bridges."""

__all__ = ["Access", "Needs", "Ticket"]

_PERMISSIONS = answers.Call(method="GET", path="/access/permissions")

#: Privileges leasing needs on each guest, found by removing them one at a time.
GUEST_PRIVILEGES = frozenset(
    {
        "VM.Allocate",
        "VM.Audit",
        "VM.PowerMgmt",
        "VM.Console",
        "VM.Config.Disk",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.Options",
    }
)

#: The privilege to take snapshots, to delete them and to roll back to them.
SNAPSHOT_PRIVILEGES = frozenset({"VM.Snapshot"})

#: The privilege to clone guests from templates of ours.
CLONE_PRIVILEGES = frozenset({"VM.Clone"})

#: Privileges to have a node pull an OCI image into a file of a storage.
PULL_STORAGE_PRIVILEGES = frozenset({"Datastore.AllocateSpace", "Datastore.AllocateTemplate"})
PULL_NODE_PRIVILEGES = frozenset({"Sys.AccessNetwork"})

#: Privileges to plug cards into a vnet, and to read which addresses the SDN gave on it.
SEEN_VNET_PRIVILEGES = frozenset({"SDN.Use", "SDN.Audit"})
_USE = frozenset({"SDN.Use"})
_STORE = frozenset({"Datastore.AllocateSpace"})

#: Privileges needed to create and remove console users, by path (PVE/API2/User.pm).
CONSOLE_USER_PRIVILEGES: Mapping[str, frozenset[str]] = {
    "/access/realm/pve": frozenset({"Realm.AllocateUser"}),
    "/access/groups": frozenset({"User.Modify"}),
}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a leasing service uses, to find out which privileges it lacks there.

    `storages` lists those for disks and those for templates. `node_figures` asks for the one
    privilege that is needed only for figures, `console_users` for those needed to create and
    remove users, `firewall` for the one that reads whether the datacenter's firewall is on, `ipam`
    names the vnets whose addresses the SDN gives and we read, `snapshots` asks for the one that
    snapshots take, `clones` for the one that clones of prepared images take. `pulls` names the
    storages for OCI images that the node pulls. `bridges` lists what cards are plugged into: the
    zone of each bridge or vnet.
    """

    vmid: int
    node: str
    storages: tuple[str, ...]
    bridges: Mapping[str, str]
    pool: str | None = None
    node_figures: bool = True
    console_users: bool = False
    firewall: bool = False
    ipam: frozenset[str] = frozenset()
    snapshots: bool = False
    clones: bool = False
    pulls: frozenset[str] = frozenset()

    def privileges(self) -> Mapping[str, frozenset[str]]:
        """The needed privileges by path."""
        of_guests = GUEST_PRIVILEGES | (SNAPSHOT_PRIVILEGES if self.snapshots else set())
        of_guests |= CLONE_PRIVILEGES if self.clones else set()
        needed = {f"/vms/{self.vmid}": of_guests}
        needed |= {
            f"/storage/{name}": PULL_STORAGE_PRIVILEGES if name in self.pulls else _STORE
            for name in self.storages
        }
        needed |= {
            f"/sdn/zones/{zone}/{bridge}": SEEN_VNET_PRIVILEGES if bridge in self.ipam else _USE
            for bridge, zone in self.bridges.items()
        }
        if self.pool:
            needed[f"/pool/{self.pool}"] = frozenset({"VM.Allocate"})
        of_node = frozenset({"Sys.Audit"}) if self.node_figures else frozenset[str]()
        of_node |= PULL_NODE_PRIVILEGES if self.pulls else frozenset()
        if of_node:
            needed[f"/nodes/{self.node}"] = of_node
        if self.firewall:
            needed["/"] = frozenset({"Sys.Audit"})
        if self.console_users:
            # Granting the role then takes only VM.Allocate.
            needed |= CONSOLE_USER_PRIVILEGES
        return needed


class Access:
    """Reads permissions, and creates and removes console users."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def permissions(self) -> Mapping[str, frozenset[str]]:
        """Our privileges by path, as granted; empty if we have none."""
        return _privileges(await self._client.call("GET", _PERMISSIONS.path))

    async def permissions_on(self, path: str) -> frozenset[str]:
        """Our privileges on one object, inherited ones included."""
        data = await self._client.call("GET", _PERMISSIONS.path, {"path": path})
        return _privileges(data).get(path, frozenset())

    async def missing_privileges(self, needs: Needs) -> Mapping[str, frozenset[str]]:
        """The privileges we lack, by path; empty if none is missing."""
        return await self.lacking(needs.privileges())

    async def lacking(self, needed: Mapping[str, frozenset[str]]) -> Mapping[str, frozenset[str]]:
        """Which of these privileges we lack, by path; empty if none is missing."""
        missing = {
            path: privileges - await self.permissions_on(path)
            for path, privileges in needed.items()
        }
        return {path: lacking for path, lacking in missing.items() if lacking}

    async def login(self, username: str, password: str) -> Ticket:
        """Get a ticket for a user. Raises AuthenticationFailed, after 3 s."""
        return await self._client.fetch_ticket(username, password)

    async def role_privileges(self, role: str) -> frozenset[str] | None:
        """The privileges of a role; None if there is no such role."""
        call = answers.Call(method="GET", path="/access/roles")
        for fields in shapes.as_rows(await self._client.call(call.method, call.path), call):
            if fields.get("roleid") == role:
                return frozenset(str(fields.get("privs", "")).split(",")) - {""}
        return None

    async def users(self) -> tuple[str, ...]:
        """The names of all users visible to us, as `name@realm`."""
        call = answers.Call(method="GET", path="/access/users")
        rows = shapes.as_rows(await self._client.call(call.method, call.path), call)
        return tuple(shapes.text(fields, "userid", call) for fields in rows)

    async def create_user(self, username: str, password: str, *, comment: str = "") -> None:
        """Create a user in Proxmox's own realm, `name@pve`; see `Needs.console_users`.

        Raises UserExists, InvalidParameters unless the password has 8 to 64 characters.
        """
        form = {"userid": username, "password": password, "comment": comment or None}
        await self._client.call("POST", "/access/users", form)

    async def grant(self, username: str, role: str, ref: GuestRef) -> None:
        """Give a user a role on one guest; it may hold only privileges we have there."""
        form: parameters.Parameters = {
            "path": f"/vms/{ref.vmid}",
            "users": username,
            "roles": role,
            "propagate": False,
        }
        await self._client.call("PUT", "/access/acl", form)

    async def delete_user(self, username: str) -> None:
        """Remove a user and all its grants; a missing user is not an error."""
        try:
            await self._client.call("DELETE", parameters.api_path("access", "users", username))
        except errors.UserMissing:
            return


def _privileges(data: object) -> Mapping[str, frozenset[str]]:
    paths = shapes.as_object(data, _PERMISSIONS)
    return {
        path: frozenset(shapes.as_object(privileges, _PERMISSIONS))
        for path, privileges in paths.items()
    }
