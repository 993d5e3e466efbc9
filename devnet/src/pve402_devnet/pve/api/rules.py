"""`/access/roles` and `/access/acl`: privileges by name, and who holds them where."""

import re
from collections.abc import Mapping

from pve402_devnet.pve import access, errors, formats, privileges, rest
from pve402_devnet.pve.guest_schema import flag, text
from pve402_devnet.pve.schema import Property

_ROLE = Property(format="pve-roleid")
_RESERVED = "PVE"
_PRIVS = text(format="pve-priv-list")
_ACL_PATH = re.compile(
    r"/|/(access|nodes|pool|sdn|storage|vms|mapping)"
    r"|/access/(groups|realm)(/[\w.-]+)?|/nodes/[\w.-]+|/pool(/[\w.-]+){1,3}"
    r"|/sdn/zones(/[\w.-]+){0,3}|/storage/[\w.-]+|/vms/[1-9][0-9]{2,}|/mapping(/[\w.-]+){1,2}"
)


async def list_roles(call: rest.Call) -> rest.Json:
    """Every role with its privileges."""
    return [
        {
            "roleid": name,
            "privs": ",".join(sorted(held)),
            "special": int(name in privileges.BUILT_IN_ROLES),
        }
        for name, held in sorted(call.world.access.roles.items())
    ]


async def create_role(call: rest.Call) -> rest.Json:
    """Create a role."""
    name = call.text("roleid")
    if name.upper().startswith(_RESERVED):
        text_ = f"cannot use role ID starting with the (case-insensitive) '{_RESERVED}' namespace"
        raise errors.ParameterErrors({"roleid": text_})
    if name in call.world.access.roles:
        raise errors.Failure(f"create role failed: role '{name}' already exists")
    call.world.access.roles[name] = _privileges(call)
    return None


async def read_role(call: rest.Call) -> rest.Json:
    """The privileges of a role."""
    return dict.fromkeys(sorted(_role(call)), 1)


async def update_role(call: rest.Call) -> rest.Json:
    """Set or extend the privileges of a role that is not built in."""
    name = call.text("roleid")
    _refuse_built_in(name, "modified")
    before = _role(call) if call.flag("append") else frozenset()
    _role(call)
    call.world.access.roles[name] = before | _privileges(call)
    return None


async def delete_role(call: rest.Call) -> rest.Json:
    """Remove a role."""
    name = call.text("roleid")
    _refuse_built_in(name, "deleted")
    _role(call)
    call.world.access.forget_role(name)
    return None


async def list_rules(call: rest.Call) -> rest.Json:
    """The access rules that the caller may see."""
    return [
        {
            "path": path,
            "type": "token" if "!" in who else "user",
            "ugid": who,
            "roleid": role,
            "propagate": propagate,
        }
        for path, holders in sorted(call.world.access.rules.items())
        if call.may("/access", "Sys.Audit") or call.may(path, "Permissions.Modify")
        for who, roles in holders.items()
        for role, propagate in roles.items()
    ]


async def change_rules(call: rest.Call) -> rest.Json:
    """Grant or revoke roles on a path."""
    known = call.world.access
    path = call.text("path").rstrip("/") or "/"
    holders = formats.split_list(f"{call.text('users')} {call.text('tokens')}")
    if not holders:
        needed = "either 'users', 'groups' or 'tokens' is required."
        raise errors.ParameterErrors(dict.fromkeys(("users", "groups", "tokens"), needed))
    if not call.flag("delete") and _ACL_PATH.fullmatch(path) is None:
        raise errors.ParameterErrors({"path": f"invalid ACL path '{path}'"})
    for role in formats.split_list(call.text("roles")):
        if role not in known.roles:
            raise errors.Failure(f"ACL update failed: role '{role}' does not exist")
        _require_handing_out(call, path, role)
        for who in holders:
            _require_holder(call, who)
            if call.flag("delete"):
                known.revoke(path, who, role)
            else:
                propagate = bool(call.params.get("propagate", 1))
                known.grant(path, who, role, propagate=propagate)
    return None


def _require_handing_out(call: rest.Call, path: str, role: str) -> None:
    """A caller without Permissions.Modify can grant only privileges that it holds itself."""
    held = call.world.access.rights(call.user, path)
    if "Permissions.Modify" in held:
        return
    verb = "remove" if call.flag("delete") else "add"
    needed = f"Cannot {verb} role '{role}'"
    given = call.world.access.roles[role]
    if given - held.keys():
        reason = f"{needed} - requires 'Permissions.Modify' or superset of privileges."
        raise errors.ParameterErrors({"role": reason})
    if role == "NoAccess":
        raise errors.ParameterErrors({"role": f"{needed} - requires 'Permissions.Modify'"})
    inherits = bool(call.params.get("propagate", 1)) and not call.flag("delete")
    if inherits and any(not held[privilege] for privilege in given):
        reason = (
            f"{needed} with propagation - requires 'Permissions.Modify'"
            " or propagated superset of privileges."
        )
        raise errors.ParameterErrors({"role": reason})


def _require_holder(call: rest.Call, who: str) -> None:
    name, separator, token = who.partition("!")
    if name not in call.world.access.users:
        raise errors.Failure(f"ACL update failed: user '{name}' does not exist")
    if separator and call.world.access.token(who) is None:
        raise errors.Failure(f"ACL update failed: no such token '{token}' for user '{name}'")


def _role(call: rest.Call) -> frozenset[str]:
    name = call.text("roleid")
    if name not in call.world.access.roles:
        raise errors.Failure(f"role '{name}' does not exist")
    return call.world.access.roles[name]


def _refuse_built_in(name: str, verb: str) -> None:
    if name in privileges.BUILT_IN_ROLES:
        raise errors.Failure(f"auto-generated role '{name}' cannot be {verb}")


def _privileges(call: rest.Call) -> frozenset[str]:
    return frozenset(formats.split_list(call.text("privs")))


def _modifies_rules(known: access.Access, user: str, values: Mapping[str, object]) -> None:
    path = str(values.get("path", "/"))
    area = path.strip("/").split("/")
    wider = {"storage": "Datastore.Allocate", "vms": "VM.Allocate", "pool": "Pool.Allocate"}
    enough = [wider[area[0]]] if len(area) > 1 and area[0] in wider else []
    known.require_any(user, path, "Permissions.Modify", *enough)


_CHANGES_ROLES = rest.needs("/access", "Sys.Modify")

ROUTES = (
    rest.access_route("GET", "roles", list_roles, rest.any_user),
    rest.access_route("POST", "roles", create_role, _CHANGES_ROLES, roleid=_ROLE, privs=_PRIVS),
    rest.access_route("GET", "roles/{roleid}", read_role, rest.any_user, roleid=_ROLE),
    rest.access_route(
        "PUT",
        "roles/{roleid}",
        update_role,
        _CHANGES_ROLES,
        roleid=_ROLE,
        privs=_PRIVS,
        append=Property(type="boolean", optional=True, requires="privs"),
    ),
    rest.access_route("DELETE", "roles/{roleid}", delete_role, _CHANGES_ROLES, roleid=_ROLE),
    rest.access_route("GET", "acl", list_rules, rest.any_user),
    rest.access_route(
        "PUT",
        "acl",
        change_rules,
        _modifies_rules,
        path=Property(),
        roles=Property(format="pve-roleid-list"),
        users=text(format="pve-userid-list"),
        groups=text(format="pve-groupid-list"),
        tokens=text(format="pve-tokenid-list"),
        propagate=flag(),
        delete=flag(),
    ),
)
