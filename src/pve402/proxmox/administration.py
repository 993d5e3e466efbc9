"""What an administrator changes: rights and who has them, pools, templates, networks, firewalls.

A change is a value first, so that it can be shown, or written as a command, before it is made.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pve402.proxmox import answers, firewall, parameters, shapes
from pve402.proxmox.client import ProxmoxClient

_ACL = answers.Call(method="GET", path="/access/acl")
_POOLS = answers.Call(method="GET", path="/pools")
_PERMISSIONS = answers.Call(method="GET", path="/access/permissions")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One writing call that is not made yet; `path` is percent-encoded."""

    method: str
    path: str
    parameters: parameters.Parameters


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A role that somebody has on a path; with `propagate` also below it."""

    path: str
    role: str
    propagate: bool = True


def create_role(role: str, privileges: Iterable[str]) -> Change:
    """Create a role. Proxmox VE refuses names that begin with PVE, in any case."""
    given = {"roleid": role, "privs": ",".join(sorted(privileges))}
    return Change(method="POST", path="/access/roles", parameters=given)


def set_privileges(role: str, privileges: Iterable[str]) -> Change:
    """Replace the privileges of a role."""
    given = {"privs": ",".join(sorted(privileges))}
    path = parameters.api_path("access", "roles", role)
    return Change(method="PUT", path=path, parameters=given)


def create_user(user: str, comment: str) -> Change:
    """Create a user without a password: only its tokens can act for it."""
    given = {"userid": user, "comment": comment}
    return Change(method="POST", path="/access/users", parameters=given)


def enable_user(user: str) -> Change:
    """Enable a disabled user."""
    path = parameters.api_path("access", "users", user)
    return Change(method="PUT", path=path, parameters={"enable": True})


def create_token(user: str, name: str) -> Change:
    """Create a token with exactly the rights of its user; the answer has its secret."""
    path = parameters.api_path("access", "users", user, "token", name)
    return Change(method="POST", path=path, parameters={"privsep": False})


def join_rights(user: str, name: str) -> Change:
    """Give a token of its own rights those of its user; its secret stays."""
    path = parameters.api_path("access", "users", user, "token", name)
    return Change(method="PUT", path=path, parameters={"privsep": False})


def renew_secret(user: str, name: str) -> Change:
    """Make a new secret, which the answer has; the old one is dead at once (Proxmox VE 9)."""
    path = parameters.api_path("access", "users", user, "token", name)
    return Change(method="PUT", path=path, parameters={"privsep": False, "regenerate": True})


def create_pool(pool: str) -> Change:
    """Create an empty pool."""
    return Change(method="POST", path="/pools", parameters={"poolid": pool})


def grant(user: str, given: Grant) -> Change:
    """Grant a role; granting it again changes nothing."""
    form: dict[str, parameters.Value] = {
        "path": given.path,
        "users": user,
        "roles": given.role,
        "propagate": given.propagate,
    }
    return Change(method="PUT", path="/access/acl", parameters=form)


def download_template(node: str, storage: str, file: str) -> Change:
    """Download a template of Proxmox VE's own list; answers with a task."""
    path = parameters.api_path("nodes", node, "aplinfo")
    return Change(method="POST", path=path, parameters={"storage": storage, "template": file})


def create_zone(zone: str) -> Change:
    """Create an SDN zone whose vnets end in the node that they are on."""
    form = {"zone": zone, "type": "simple", "ipam": "pve"}
    return Change(method="POST", path="/cluster/sdn/zones", parameters=form)


def create_vnet(vnet: str, zone: str) -> Change:
    """Create a vnet of a zone."""
    form = {"vnet": vnet, "zone": zone}
    return Change(method="POST", path="/cluster/sdn/vnets", parameters=form)


def create_subnet(vnet: str, subnet: str, gateway: str) -> Change:
    """Give a vnet a subnet, whose gateway each node is, and which leaves by the node's address."""
    form: dict[str, parameters.Value] = {
        "subnet": subnet,
        "type": "subnet",
        "gateway": gateway,
        "snat": True,
    }
    path = parameters.api_path("cluster", "sdn", "vnets", vnet, "subnets")
    return Change(method="POST", path=path, parameters=form)


def apply_networks() -> Change:
    """Have all nodes take over all of SDN; answers with a task, which ends OK even if none did."""
    return Change(method="PUT", path="/cluster/sdn", parameters={})


def add_node_rule(node: str, rule: firewall.Rule) -> Change:
    """Put a rule on top of a node's own; making it again adds another one."""
    path = parameters.api_path("nodes", node, "firewall", "rules")
    return Change(method="POST", path=path, parameters=rule.facts())


def create_local_network(cidr: str) -> Change:
    """Let only these addresses reach the nodes as their own network does."""
    form = {"name": firewall.LOCAL_NETWORK, "cidr": cidr}
    return Change(method="POST", path="/cluster/firewall/aliases", parameters=form)


def change_local_network(cidr: str) -> Change:
    """The same where the alias is there already."""
    path = parameters.api_path("cluster", "firewall", "aliases", firewall.LOCAL_NETWORK)
    return Change(method="PUT", path=path, parameters={"cidr": cidr})


def switch_firewall(*, on: bool) -> Change:
    """Switch the datacenter's firewall; it filters the nodes too, after up to 10 s."""
    return Change(method="PUT", path="/cluster/firewall/options", parameters={"enable": on})


class Administration:
    """Reads what an administrator may see, and makes changes."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def make(self, change: Change) -> object:
        """Make a change and return its answer, which for a new token holds a secret."""
        return await self._client.call(change.method, change.path, change.parameters)

    async def is_enabled(self, user: str) -> bool | None:
        """Whether a user may log in; None if there is no such user."""
        call = answers.Call(method="GET", path="/access/users")
        for row in shapes.as_rows(await self._client.call(call.method, call.path), call):
            if row.get("userid") == user:
                return shapes.optional_whole(row, "enable") != 0
        return None

    async def tokens(self, user: str) -> Mapping[str, bool]:
        """The tokens of an existing user, with whether each has rights of its own."""
        call = answers.Call(
            method="GET", path=parameters.api_path("access", "users", user, "token")
        )
        rows = shapes.as_rows(await self._client.call(call.method, call.path), call)
        return {
            shapes.text(row, "tokenid", call): shapes.optional_whole(row, "privsep") != 0
            for row in rows
        }

    async def pools(self) -> frozenset[str]:
        """The names of all pools."""
        rows = shapes.as_rows(await self._client.call("GET", _POOLS.path), _POOLS)
        return frozenset(shapes.text(row, "poolid", _POOLS) for row in rows)

    async def grants(self, user: str) -> frozenset[Grant]:
        """Everything granted to a user itself, not to its groups."""
        rows = shapes.as_rows(await self._client.call("GET", _ACL.path), _ACL)
        return frozenset(
            Grant(
                path=shapes.text(row, "path", _ACL),
                role=shapes.text(row, "roleid", _ACL),
                propagate=shapes.optional_whole(row, "propagate") != 0,
            )
            for row in rows
            if (row.get("type"), row.get("ugid")) == ("user", user)
        )

    async def privileges_of(self, who: str, path: str) -> frozenset[str]:
        """The privileges of a user or token on a path, inherited ones included."""
        data = await self._client.call("GET", _PERMISSIONS.path, {"userid": who, "path": path})
        held = shapes.as_object(data, _PERMISSIONS).get(path) or {}
        return frozenset(shapes.as_object(held, _PERMISSIONS))
