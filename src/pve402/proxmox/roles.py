"""The roles that a leasing service's user needs: their names, their privileges, their places.

The page on rights, the doctor, and the set-up take them from here. Proxmox VE reserves names that
begin with PVE, in any case.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pve402.proxmox import access
from pve402.proxmox.administration import Grant


@dataclass(frozen=True, kw_only=True)
class Role:
    """A role of ours."""

    name: str
    privileges: frozenset[str]


GUESTS = Role(name="R402Guests", privileges=access.GUEST_PRIVILEGES)
SNAPSHOT_GUESTS = Role(
    name="R402SnapshotGuests", privileges=access.GUEST_PRIVILEGES | access.SNAPSHOT_PRIVILEGES
)
"""In place of R402Guests where tenants may take snapshots: a role's privileges never vary."""
CLONE_GUESTS = Role(
    name="R402CloneGuests", privileges=access.GUEST_PRIVILEGES | access.CLONE_PRIVILEGES
)
"""In place of R402Guests where images are prepared."""
CLONE_SNAPSHOT_GUESTS = Role(
    name="R402CloneSnapshotGuests",
    privileges=SNAPSHOT_GUESTS.privileges | access.CLONE_PRIVILEGES,
)
"""In place of either where both are so."""
OF_GUESTS = (GUESTS, SNAPSHOT_GUESTS, CLONE_GUESTS, CLONE_SNAPSHOT_GUESTS)
STORAGE = Role(name="R402Storage", privileges=frozenset({"Datastore.AllocateSpace"}))
PULL_STORAGE = Role(name="R402PullStorage", privileges=access.PULL_STORAGE_PRIVILEGES)
"""In place of R402Storage where the files of OCI images are."""
BRIDGE = Role(name="R402Bridge", privileges=frozenset({"SDN.Use"}))
VNET = Role(name="R402Vnet", privileges=access.SEEN_VNET_PRIVILEGES)
NODE = Role(name="R402Node", privileges=frozenset({"Sys.Audit"}))
PULL_NODE = Role(name="R402PullNode", privileges=NODE.privileges | access.PULL_NODE_PRIVILEGES)
"""In place of R402Node where nodes pull OCI images."""
USERS = Role(
    name="R402Users",
    privileges=frozenset[str]().union(*access.CONSOLE_USER_PRIVILEGES.values()),
)

_OTHERS = (VNET, PULL_STORAGE, PULL_NODE, *OF_GUESTS)
_ROLES: Mapping[str, Role] = {
    "vms": GUESTS,
    "pool": GUESTS,
    "storage": STORAGE,
    "sdn": BRIDGE,
    "nodes": NODE,
    "access": USERS,
    "": NODE,
}


def role_on(path: str, privileges: Collection[str] = ()) -> Role:
    """The role that is granted on a path, for these privileges among others."""
    if "SDN.Audit" in privileges:
        return VNET
    if "Datastore.AllocateTemplate" in privileges:
        return PULL_STORAGE
    if "Sys.AccessNetwork" in privileges:
        return PULL_NODE
    chosen = (access.SNAPSHOT_PRIVILEGES | access.CLONE_PRIVILEGES) & set(privileges)
    if chosen:
        return next(role for role in OF_GUESTS if role.privileges == GUESTS.privileges | chosen)
    return _ROLES[path.split("/")[1]]


def place_of(path: str) -> str:
    """Where the role for a path is granted: what guests need, on all of them."""
    return "/vms" if path.startswith("/vms/") else path


def grants(needs: Iterable[access.Needs]) -> Iterator[Grant]:
    """What to grant so that all the needs are met, each once.

    A grant on a deeper path replaces what is inherited there, so none lies below another, except
    below `/`, which is not inherited.
    """
    seen: set[str] = set()
    for need in needs:
        for deep, privileges in need.privileges().items():
            path = place_of(deep)
            if path not in seen:
                seen.add(path)
                role = role_on(path, privileges)
                yield Grant(path=path, role=role.name, propagate=path != "/")


def named(name: str) -> Role:
    """One of our roles by its name."""
    return next(role for role in (*_ROLES.values(), *_OTHERS) if role.name == name)
