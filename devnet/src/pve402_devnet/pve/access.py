"""Who may do what: users, tokens, roles, the tree of access rules, and pools.

The rules are those of PVE::RPCEnvironment: a rule further down a path replaces what was inherited,
a token with privilege separation has what both it and its user have, `NoAccess` wins.
"""

import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from pve402_devnet.pve import errors, options, privileges

ROOT = "root@pam"

Rights = dict[str, int]
"""Privileges held on a path, each with whether it is inherited below."""


@dataclass(kw_only=True)
class Token:
    """A credential of a user with rights of its own."""

    privilege_separated: bool = True
    comment: str = ""
    expire: int = 0
    secret: str = field(repr=False)

    def info(self) -> dict[str, object]:
        """Describe the token as the API does."""
        shown: dict[str, object] = {
            "privsep": int(self.privilege_separated),
            "expire": self.expire,
        }
        if self.comment:
            shown["comment"] = self.comment
        return shown


@dataclass(kw_only=True)
class User:
    """An account of a realm."""

    enabled: bool = True
    comment: str = ""
    expire: int = 0
    password: str = field(default="", repr=False)
    tokens: dict[str, Token] = field(default_factory=dict)


@dataclass(kw_only=True)
class Pool:
    """A set of guests and storages that rights can be given on at once."""

    comment: str = ""
    guests: set[int] = field(default_factory=set)
    storages: set[str] = field(default_factory=set)


class Access:
    """`user.cfg` of the cluster."""

    def __init__(self, chosen: options.AccessOptions, root_password: str) -> None:
        self.users: dict[str, User] = {
            ROOT: User(password=root_password or secrets.token_urlsafe(18))
        }
        self.roles: dict[str, frozenset[str]] = dict(privileges.BUILT_IN_ROLES)
        self.rules: dict[str, dict[str, dict[str, int]]] = {}
        self.pools: dict[str, Pool] = {}
        for name, password in chosen.passwords:
            self.users[name] = User(password=password)
        for role, held in chosen.roles:
            self.roles[role] = frozenset(held)
        for token in chosen.tokens:
            self.add_token(token)
        for rule in chosen.acl:
            self.grant(rule.path, rule.who, rule.role)

    def add_token(self, token: options.TokenOptions) -> None:
        """Create a token, and its user if there is none; generates a secret if none is given."""
        user = self.users.setdefault(token.user, User())
        user.tokens[token.name] = Token(
            privilege_separated=token.privilege_separated,
            secret=token.secret or str(uuid.uuid4()),
        )

    def grant(self, path: str, who: str, role: str, *, propagate: bool = True) -> None:
        """Grant a role on a path to a user or token."""
        self.rules.setdefault(path, {}).setdefault(who, {})[role] = int(propagate)

    def revoke(self, path: str, who: str, role: str) -> None:
        """Remove a role on a path."""
        self.rules.get(path, {}).get(who, {}).pop(role, None)

    def forget(self, who: str) -> None:
        """Drop every rule of a deleted user or token."""
        for holders in self.rules.values():
            holders.pop(who, None)

    def forget_role(self, role: str) -> None:
        """Drop a role with every rule that grants it."""
        self.roles.pop(role, None)
        for holders in self.rules.values():
            for roles in holders.values():
                roles.pop(role, None)

    def forget_path(self, path: str) -> None:
        """Drop every rule on a path whose object was deleted."""
        self.rules.pop(path, None)

    def token(self, full_id: str) -> Token | None:
        """Look a token up by `user@realm!name`."""
        name, _, token_id = full_id.partition("!")
        user = self.users.get(name)
        return user.tokens.get(token_id) if user else None

    def rights(self, who: str, path: str) -> Rights:
        """Return a caller's privileges on a path."""
        if who == ROOT:
            return dict.fromkeys(privileges.EVERY, 1)
        name, separator, _ = who.partition("!")
        if not separator:
            return self._rights_by_rules(who, path)
        token = self.token(who)
        if token is None:
            return {}
        of_user = self.rights(name, path)
        if not token.privilege_separated:
            return of_user
        own = self._rights_by_rules(who, path)
        return {p: min(flag, of_user[p]) for p, flag in own.items() if p in of_user}

    def effective_rights(self, who: str) -> dict[str, Rights]:
        """Work out the privileges on every path the configuration names, empty ones left out."""
        found = {path: self.rights(who, path) for path in sorted(self._named_paths())}
        return {path: rights for path, rights in found.items() if rights}

    def may(self, who: str, path: str, *wanted: str) -> bool:
        """Return whether a caller has all the given privileges."""
        return all(privilege in self.rights(who, path) for privilege in wanted)

    def require(self, who: str, path: str, *wanted: str) -> None:
        """Raise `errors.PermissionDenied` for the first privilege missing."""
        held = self.rights(who, path)
        for privilege in wanted:
            if privilege not in held:
                raise errors.PermissionDenied(f"{path}, {privilege}")

    def require_any(self, who: str, path: str, *wanted: str) -> None:
        """Raise `errors.PermissionDenied` if none of the privileges is held."""
        if not self.rights(who, path).keys() & set(wanted):
            raise errors.PermissionDenied(f"{path}, {'|'.join(wanted)}")

    def require_pool(self, pool: str) -> None:
        """Raise `errors.PermissionDenied` for a missing pool, as Proxmox does."""
        if pool not in self.pools:
            raise errors.PermissionDenied(f"pool '{pool}' does not exist")

    def require_on_guest(self, who: str, vmid: int, pool: str | None, *wanted: str) -> None:
        """Require privileges on a guest, or on the pool it is to join."""
        if pool and self.may(who, f"/pool/{pool}", *wanted):
            return
        self.require(who, f"/vms/{vmid}", *wanted)

    def pool_of(self, vmid: int) -> str | None:
        """Name the pool a guest is in."""
        return next((name for name, pool in self.pools.items() if vmid in pool.guests), None)

    def capabilities(self, who: str) -> dict[str, Rights]:
        """Sum privileges up by area, as a login answer shows them."""
        areas: dict[str, Rights] = {area: {} for area in _AREAS}
        required = {"/", "/nodes", "/access/groups", "/vms", "/storage", "/sdn", "/mapping"}
        for path in required | self._rule_paths():
            area = path.split("/")[1] or "dc"
            prefixes = _AREAS.get(area, ())
            for privilege in self.rights(who, path):
                if privilege.startswith(prefixes) or privilege == "Permissions.Modify":
                    areas.setdefault(area, {})[privilege] = 1
        return {area: areas[area] for area in _AREAS}

    def _rule_paths(self) -> set[str]:
        paths: set[str] = set()
        for path in self.rules:
            parts = path.strip("/").split("/")
            paths |= {"/" + "/".join(parts[:n]) for n in range(len(parts) + 1)}
        return paths

    def _named_paths(self) -> set[str]:
        pooled: Iterable[Pool] = self.pools.values()
        return (
            {"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"}
            | self._rule_paths()
            | {f"/vms/{vmid}" for pool in pooled for vmid in pool.guests}
            | {f"/storage/{name}" for pool in pooled for name in pool.storages}
        )

    def _rights_by_rules(self, who: str, path: str) -> Rights:
        held: Rights = {}
        for role, propagate in self._roles(who, path).items():
            for privilege in self.roles.get(role, frozenset()):
                held[privilege] = max(held.get(privilege, 0), propagate)
        return held

    def _roles(self, who: str, path: str) -> dict[str, int]:
        roles = self._roles_on_the_way(who, path)
        if "NoAccess" in roles:
            return {}
        from_pools = self._roles_from_pools(who, path)
        if "NoAccess" in from_pools:
            return {}
        return {**dict.fromkeys(from_pools, 0), **roles}

    def _roles_on_the_way(self, who: str, path: str) -> dict[str, int]:
        parts = [part for part in path.split("/") if part]
        roles: dict[str, int] = {}
        for depth in range(len(parts) + 1):
            here = self.rules.get("/" + "/".join(parts[:depth]), {}).get(who, {})
            final = depth == len(parts)
            applied = {role: flag for role, flag in here.items() if final or flag}
            roles = applied or roles
        return roles

    def _roles_from_pools(self, who: str, path: str) -> set[str]:
        area, _, name = path.strip("/").partition("/")
        roles: set[str] = set()
        for pool_name, pool in self.pools.items():
            in_it = (area == "vms" and name.isdecimal() and int(name) in pool.guests) or (
                area == "storage" and name in pool.storages
            )
            if in_it:
                roles |= self._roles_on_the_way(who, f"/pool/{pool_name}").keys()
        return roles


_AREAS: dict[str, tuple[str, ...]] = {
    "vms": ("VM.",),
    "access": ("User.", "Group."),
    "storage": ("Datastore.",),
    "nodes": ("Sys.",),
    "sdn": ("SDN.",),
    "dc": ("Sys.Audit", "Sys.Modify", "SDN."),
    "mapping": ("Mapping.",),
}
