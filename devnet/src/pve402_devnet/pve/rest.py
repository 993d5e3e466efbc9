"""Routes of the simulated API and how a path finds one; nothing here knows HTTP."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pve402_devnet.pve import access, cluster, errors, schema

Json = object
Permission = Callable[[access.Access, str, Mapping[str, object]], None]
"""Raises `errors.PermissionDenied`; gets the raw parameters, those of the path included."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer with more than data: `total` of a list, or a text to download."""

    data: Json = None
    total: int = 0
    download: str | None = None
    file_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call whose caller, rights and parameters are in order."""

    world: cluster.Cluster
    user: str
    params: schema.Clean
    password: str = field(default="", repr=False)

    @property
    def node(self) -> str:
        """The node the path names, `localhost` resolved."""
        return self.world.resolve_node(self.text("node"))

    @property
    def vmid(self) -> int:
        """The guest the call is about."""
        return int(self.params["vmid"])

    @property
    def guest(self) -> cluster.Guest:
        """The guest the call is about; raises `errors.Failure` where it is not there."""
        return self.world.guest(self.vmid, self.node)

    @property
    def is_root(self) -> bool:
        """Whether root@pam itself calls; its tokens do not count."""
        return self.user == access.ROOT

    def text(self, name: str, default: str = "") -> str:
        """A parameter as text."""
        return str(self.params.get(name, default))

    def flag(self, name: str) -> bool:
        """A boolean parameter; absent is false."""
        return bool(self.params.get(name, 0))

    def integer(self, name: str, default: int) -> int:
        """A whole number."""
        return int(self.params.get(name, default))

    def may(self, path: str, *privileges: str) -> bool:
        """Tell whether the caller has all the privileges on a path."""
        return self.world.access.may(self.user, path, *privileges)

    def require(self, path: str, *privileges: str) -> None:
        """Raise `errors.PermissionDenied` for a privilege the caller lacks."""
        self.world.access.require(self.user, path, *privileges)


Handler = Callable[[Call], Awaitable[Json]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method on one path template such as `/nodes/{node}/lxc/{vmid}`.

    A last part `{name...}` takes the rest of the path. Protected calls run in the daemon, whose
    workers are few; the others are answered by the proxy itself.
    """

    method: str
    path: str
    handler: Handler
    permission: Permission
    parameters: schema.Properties = field(default_factory=dict)
    protected: bool = False
    allow_token: bool = True


def access_route(
    method: str,
    path: str,
    handler: Handler,
    permission: Permission,
    /,
    **parameters: schema.Property,
) -> Route:
    """A route below `/access`; what changes something there is protected."""
    return Route(
        method=method,
        path=f"/access/{path}",
        handler=handler,
        permission=permission,
        parameters=parameters,
        protected=method != "GET",
    )


def anyone(_known: access.Access, _user: str, _values: Mapping[str, object]) -> None:
    """Everybody, even without credentials."""


def any_user(_known: access.Access, user: str, _values: Mapping[str, object]) -> None:
    """Everybody with credentials."""
    if not user:
        raise errors.PermissionDenied("user != null")


def needs(path: str, *privileges: str) -> Permission:
    """All the privileges on a path, whose `{names}` are parameters."""

    def check(known: access.Access, user: str, values: Mapping[str, object]) -> None:
        known.require(user, _fill(path, values), *privileges)

    return check


def needs_any(path: str, *privileges: str) -> Permission:
    """One of the privileges on a path."""

    def check(known: access.Access, user: str, values: Mapping[str, object]) -> None:
        known.require_any(user, _fill(path, values), *privileges)

    return check


def _fill(path: str, values: Mapping[str, object]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], "")), path)


class Router:
    """Finds the route of a call."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: list[tuple[re.Pattern[str], Route]] = [
            (_compile(route.path), route) for route in routes
        ]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Look a call up; raises `errors.CallUnknown` (501) where nothing is registered."""
        tidy = "/" + "/".join(part for part in path.split("/") if part)
        for pattern, route in self._routes:
            if route.method == method and (match := pattern.fullmatch(tidy)):
                return route, match.groupdict()
        raise errors.CallUnknown(method, path)


def _compile(path: str) -> re.Pattern[str]:
    escaped = re.escape(path).replace(r"\{", "{").replace(r"\}", "}").replace(r"\.", ".")
    pattern = re.sub(r"\{(\w+)\.\.\.\}", r"(?P<\1>.+)", escaped)
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern))
