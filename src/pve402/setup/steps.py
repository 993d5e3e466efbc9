"""What must be there on Proxmox VE: one list, which is printed as commands or made over the API.

A step makes nothing itself. It knows the change that makes its thing, and looks whether one is
needed, so that a set-up can be repeated, also after it was killed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pve402 import config
from pve402.bootstrap import rights
from pve402.domain.catalogue import Catalogue
from pve402.guests import direct_consoles
from pve402.proxmox import (
    administration,
    firewall,
    guest_filters,
    nodes,
    roles,
    sdn,
    storage,
    tasks,
)
from pve402.proxmox.access import Access
from pve402.proxmox.administration import Administration, Change
from pve402.proxmox.client import ProxmoxClient

_COMMENT = "container leases"


class Site:
    """Proxmox VE as an administrator sees it."""

    def __init__(self, client: ProxmoxClient) -> None:
        self.access = Access(client)
        self.administration = Administration(client)
        self.storages = storage.Storages(client)
        self.nodes = nodes.Nodes(client)
        self.tasks = tasks.Tasks(client)
        self.firewall = firewall.ClusterFirewall(client)
        self.guest_filters = guest_filters.GuestFilters(client)
        self.sdn = sdn.Sdn(client)


class Step(Protocol):
    """One thing that must be there."""

    @property
    def what(self) -> str:
        """The thing, for people."""

    @property
    def changes(self) -> Sequence[Change]:
        """What creates it, then what corrects it where it is there already."""

    async def needed(self, site: Site) -> Change | None:
        """The change that is needed now; None if the thing is there and right."""


@dataclass(frozen=True)
class RoleStep:
    """A role with exactly its privileges."""

    role: roles.Role

    @property
    def what(self) -> str:
        """The role's name."""
        return f"role {self.role.name}"

    @property
    def changes(self) -> Sequence[Change]:
        """Create it, or set its privileges."""
        name, privileges = self.role.name, self.role.privileges
        return (
            administration.create_role(name, privileges),
            administration.set_privileges(name, privileges),
        )

    async def needed(self, site: Site) -> Change | None:
        """Compare the privileges."""
        held = await site.access.role_privileges(self.role.name)
        if held == self.role.privileges:
            return None
        return self.changes[0 if held is None else 1]


@dataclass(frozen=True)
class UserStep:
    """A user that may log in, by its tokens alone."""

    user: str

    @property
    def what(self) -> str:
        """The user's name."""
        return f"user {self.user}"

    @property
    def changes(self) -> Sequence[Change]:
        """Create it."""
        return (administration.create_user(self.user, _COMMENT),)

    async def needed(self, site: Site) -> Change | None:
        """Create it, or enable it."""
        enabled = await site.administration.is_enabled(self.user)
        if enabled is None:
            return self.changes[0]
        return None if enabled else administration.enable_user(self.user)


@dataclass(frozen=True)
class TokenStep:
    """A token with the rights of its user. An existing one keeps its secret."""

    user: str
    name: str

    @property
    def what(self) -> str:
        """The token's full id."""
        return f"token {self.user}!{self.name}"

    @property
    def changes(self) -> Sequence[Change]:
        """Create it."""
        return (administration.create_token(self.user, self.name),)

    async def needed(self, site: Site) -> Change | None:
        """Create it, or give it its user's rights."""
        tokens: dict[str, bool] = {}
        if await site.administration.is_enabled(self.user) is not None:
            tokens.update(await site.administration.tokens(self.user))
        if self.name not in tokens:
            return self.changes[0]
        return administration.join_rights(self.user, self.name) if tokens[self.name] else None


@dataclass(frozen=True)
class PoolStep:
    """A resource pool."""

    pool: str

    @property
    def what(self) -> str:
        """The pool's name."""
        return f"pool {self.pool}"

    @property
    def changes(self) -> Sequence[Change]:
        """Create it."""
        return (administration.create_pool(self.pool),)

    async def needed(self, site: Site) -> Change | None:
        """Create it unless it is there."""
        return None if self.pool in await site.administration.pools() else self.changes[0]


@dataclass(frozen=True)
class GrantStep:
    """A role of the user on a path."""

    user: str
    grant: administration.Grant

    @property
    def what(self) -> str:
        """Role, user and path."""
        return f"{self.grant.role} for {self.user} on {self.grant.path}"

    @property
    def changes(self) -> Sequence[Change]:
        """Grant it; once more changes nothing."""
        return (administration.grant(self.user, self.grant),)

    async def needed(self, site: Site) -> Change | None:
        """Grant it unless it is granted."""
        granted = await site.administration.grants(self.user)
        return None if self.grant in granted else self.changes[0]


@dataclass(frozen=True)
class TemplateStep:
    """A template on a node."""

    node: str
    volume: str

    @property
    def what(self) -> str:
        """Volume and node."""
        return f"template {self.volume} on {self.node}"

    @property
    def changes(self) -> Sequence[Change]:
        """Download it; a node that has it downloads nothing."""
        where, _, file = self.volume.partition(":vztmpl/")
        return (administration.download_template(self.node, where, file),)

    async def needed(self, site: Site) -> Change | None:
        """Download it unless the node has it."""
        where = self.volume.partition(":")[0]
        held = await site.storages.templates(self.node, where)
        return None if self.volume in {one.volid for one in held} else self.changes[0]


def steps(settings: config.Settings, catalogue: Catalogue, names: Sequence[str]) -> Iterator[Step]:
    """Yield what must be there to sell this catalogue on these nodes, in order."""
    user, _, token = settings.pve_token_id.partition("!")
    needs = [rights.needs(settings, catalogue, node) for node in names]
    granted = list(roles.grants(needs))
    wanted = {role.name: role for role in map(roles.named, (one.role for one in granted))}
    if settings.pve_console_mode == "direct":
        console = roles.Role(name=direct_consoles.ROLE, privileges=direct_consoles.PRIVILEGES)
        wanted[console.name] = console
    yield from map(RoleStep, wanted.values())
    yield UserStep(user)
    yield TokenStep(user, token)
    if settings.pve_pool:
        yield PoolStep(settings.pve_pool)
    yield from (GrantStep(user, one) for one in granted)
    for node in names:
        for volume in sorted(rights.templates(settings, catalogue, node)):
            if ":vztmpl/" in volume:
                yield TemplateStep(node, volume)
