"""Access: which privileges we have, and users whose only right is one guest's console."""

from collections.abc import Mapping
from dataclasses import dataclass

from pve402.proxmox import answers, errors, parameters, shapes
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guests import GuestRef
from pve402.proxmox.login import Ticket

__all__ = ["Access", "Needs", "Ticket"]

_PERMISSIONS = answers.Call(method="GET", path="/access/permissions")

#: What leasing needs on each guest, found by taking the privileges away one at a time.
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


#: What making and removing console users needs, by path (PVE/API2/User.pm).
CONSOLE_USER_PRIVILEGES: Mapping[str, frozenset[str]] = {
    "/access/realm/pve": frozenset({"Realm.AllocateUser"}),
    "/access/groups": frozenset({"User.Modify"}),
}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a leasing service touches, to ask which privileges it lacks there.

    `storages` holds those of disks and of templates; `node_figures` asks for the one
    privilege that is needed for nothing but figures, `console_users` for those that making
    and removing users takes. SDN zones other than that of plain bridges are named by
    `sdn_zone`.
    """

    vmid: int
    node: str
    storages: tuple[str, ...]
    bridge: str
    sdn_zone: str = "localnetwork"
    pool: str | None = None
    node_figures: bool = True
    console_users: bool = False

    def privileges(self) -> Mapping[str, frozenset[str]]:
        """Privileges by the path they are needed on."""
        needed = {f"/vms/{self.vmid}": GUEST_PRIVILEGES}
        needed |= {
            f"/storage/{name}": frozenset({"Datastore.AllocateSpace"}) for name in self.storages
        }
        needed[f"/sdn/zones/{self.sdn_zone}/{self.bridge}"] = frozenset({"SDN.Use"})
        if self.pool:
            needed[f"/pool/{self.pool}"] = frozenset({"VM.Allocate"})
        if self.node_figures:
            needed[f"/nodes/{self.node}"] = frozenset({"Sys.Audit"})
        if self.console_users:
            # Granting the role then takes VM.Allocate alone.
            needed |= CONSOLE_USER_PRIVILEGES
        return needed


class Access:
    """Asks for permissions, and makes and removes console users."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def permissions(self) -> Mapping[str, frozenset[str]]:
        """Our privileges by path, as they were granted; none for a login without any."""
        return _privileges(await self._client.call("GET", _PERMISSIONS.path))

    async def permissions_on(self, path: str) -> frozenset[str]:
        """Our privileges on one object, inherited ones included."""
        data = await self._client.call("GET", _PERMISSIONS.path, {"path": path})
        return _privileges(data).get(path, frozenset())

    async def missing_privileges(self, needs: Needs) -> Mapping[str, frozenset[str]]:
        """The privileges we lack, by path; empty where nothing is lacking."""
        return await self.lacking(needs.privileges())

    async def lacking(self, needed: Mapping[str, frozenset[str]]) -> Mapping[str, frozenset[str]]:
        """Which of these privileges we lack, by path; empty where nothing is lacking."""
        missing = {
            path: privileges - await self.permissions_on(path)
            for path, privileges in needed.items()
        }
        return {path: lacking for path, lacking in missing.items() if lacking}

    async def login(self, username: str, password: str) -> Ticket:
        """A ticket for a user. Raises AuthenticationFailed, after 3 s."""
        return await self._client.fetch_ticket(username, password)

    async def role_privileges(self, role: str) -> frozenset[str] | None:
        """The privileges of a role; None if there is no such role."""
        call = answers.Call(method="GET", path="/access/roles")
        for fields in shapes.as_rows(await self._client.call(call.method, call.path), call):
            if fields.get("roleid") == role:
                return frozenset(str(fields.get("privs", "")).split(",")) - {""}
        return None

    async def users(self) -> tuple[str, ...]:
        """The names of all users that we may see, as `name@realm`."""
        call = answers.Call(method="GET", path="/access/users")
        rows = shapes.as_rows(await self._client.call(call.method, call.path), call)
        return tuple(shapes.text(fields, "userid", call) for fields in rows)

    async def create_user(self, username: str, password: str, *, comment: str = "") -> None:
        """Make a user of Proxmox's own realm, `name@pve`; see `Needs.console_users`.

        Raises UserExists, InvalidParameters for a password not of 8 to 64 characters.
        """
        form = {"userid": username, "password": password, "comment": comment or None}
        await self._client.call("POST", "/access/users", form)

    async def grant(self, username: str, role: str, ref: GuestRef) -> None:
        """Give a user a role on one guest, of no more privileges than we have there."""
        form: parameters.Parameters = {
            "path": f"/vms/{ref.vmid}",
            "users": username,
            "roles": role,
            "propagate": False,
        }
        await self._client.call("PUT", "/access/acl", form)

    async def delete_user(self, username: str) -> None:
        """Remove a user with everything granted to it; one already gone is no error."""
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
