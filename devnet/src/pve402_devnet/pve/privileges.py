"""The privileges of Proxmox VE 9.2 and the roles that come with it (PVE::AccessControl)."""

from collections.abc import Mapping

_GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "VM": {
        "admin": (
            "VM.Config.Disk",
            "VM.Config.CPU",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.HWType",
            "VM.Config.Options",
            "VM.Allocate",
            "VM.Clone",
            "VM.GuestAgent.Unrestricted",
            "VM.Migrate",
            "VM.Replicate",
            "VM.Snapshot",
            "VM.Snapshot.Rollback",
        ),
        "user": (
            "VM.Config.CDROM",
            "VM.Config.Cloudinit",
            "VM.Console",
            "VM.Backup",
            "VM.GuestAgent.FileRead",
            "VM.GuestAgent.FileSystemMgmt",
            "VM.GuestAgent.FileWrite",
            "VM.PowerMgmt",
        ),
        "audit": ("VM.Audit", "VM.GuestAgent.Audit"),
    },
    "Sys": {
        "root": ("Sys.PowerMgmt", "Sys.Modify", "Sys.Incoming", "Sys.AccessNetwork"),
        "admin": ("Sys.Console", "Sys.Syslog"),
        "audit": ("Sys.Audit",),
    },
    "Datastore": {
        "admin": ("Datastore.Allocate", "Datastore.AllocateTemplate"),
        "user": ("Datastore.AllocateSpace",),
        "audit": ("Datastore.Audit",),
    },
    "SDN": {
        "admin": ("SDN.Allocate", "SDN.Audit"),
        "user": ("SDN.Use",),
        "audit": ("SDN.Audit",),
    },
    "User": {
        "root": ("Realm.Allocate",),
        "admin": ("User.Modify", "Group.Allocate", "Realm.AllocateUser"),
    },
    "Pool": {
        "admin": ("Pool.Allocate",),
        "user": ("Pool.Audit",),
        "audit": ("Pool.Audit",),
    },
    "Mapping": {
        "admin": ("Mapping.Modify",),
        "user": ("Mapping.Use",),
        "audit": ("Mapping.Audit",),
    },
}

EVERY = frozenset(
    {privilege for group in _GROUPS.values() for level in group.values() for privilege in level}
    | {"Permissions.Modify"}
)


def _built_in() -> dict[str, frozenset[str]]:
    roles: dict[str, set[str]] = {
        "NoAccess": set(),
        "Administrator": set(EVERY),
        "PVEAdmin": set(),
        "PVEAuditor": set(),
        "PVETemplateUser": {"VM.Clone", "VM.Audit"},
    }
    for name, group in _GROUPS.items():
        audit = set(group.get("audit", ()))
        user = set(group.get("user", ()))
        admin = set(group.get("admin", ())) | user | audit
        roles[f"PVE{name}Admin"] = admin
        roles["PVEAdmin"] |= admin - {"Mapping.Modify"}
        roles["PVEAuditor"] |= audit
        if user:
            roles[f"PVE{name}User"] = user | audit
    return {name: frozenset(held) for name, held in roles.items()}


BUILT_IN_ROLES: Mapping[str, frozenset[str]] = _built_in()
