"""Whose firewall a call is about, and what every such call has in common."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pve402_devnet.pve import errors, guest_schema, rest
from pve402_devnet.pve.firewall import checks, files
from pve402_devnet.pve.guest_schema import text
from pve402_devnet.pve.schema import Properties, Property

_MODIFIED = "detected modified configuration - file changed by other user? Try again."
DIGEST = text(max_length=64)
LOG_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A firewall of the API: where its calls are, who may make them, and its file."""

    place: checks.Place
    path: str
    object_path: str
    audit: str
    modify: str
    file: Callable[[rest.Call], files.FirewallFile]
    parameters: Properties = field(default_factory=dict)

    def read(
        self, path: str, handler: rest.Handler, privilege: str = "", /, **parameters: Property
    ) -> rest.Route:
        """A call that looks; it needs the right to audit, or another that is named."""
        return self._route("GET", path, handler, privilege or self.audit, parameters)

    def write(
        self, method: str, path: str, handler: rest.Handler, /, **parameters: Property
    ) -> rest.Route:
        """A call that changes."""
        return self._route(method, path, handler, self.modify, parameters)

    def _route(
        self,
        method: str,
        path: str,
        handler: rest.Handler,
        privilege: str,
        parameters: Properties,
    ) -> rest.Route:
        return rest.Route(
            method=method,
            path=f"{self.path}{path}",
            handler=handler,
            permission=rest.needs(self.object_path, privilege),
            parameters={**self.parameters, **parameters},
            protected=method != "GET",
        )


GUEST = Scope(
    place=checks.Place.GUEST,
    path="/nodes/{node}/lxc/{vmid}/firewall",
    object_path="/vms/{vmid}",
    audit="VM.Audit",
    modify="VM.Config.Network",
    file=lambda call: call.world.firewalls.guest(call.vmid),
    parameters=guest_schema.OF_A_GUEST,
)
NODE = Scope(
    place=checks.Place.NODE,
    path="/nodes/{node}/firewall",
    object_path="/nodes/{node}",
    audit="Sys.Audit",
    modify="Sys.Modify",
    file=lambda call: call.world.firewalls.node(call.node),
    parameters={"node": guest_schema.NODE},
)
CLUSTER = Scope(
    place=checks.Place.CLUSTER,
    path="/cluster/firewall",
    object_path="/",
    audit="Sys.Audit",
    modify="Sys.Modify",
    file=lambda call: call.world.firewalls.cluster,
)


def index(*names: str) -> rest.Handler:
    """List what lies under a path."""

    async def handler(call: rest.Call) -> rest.Json:
        return [{"name": name} for name in names]

    return handler


def open_index(scope: Scope, *names: str) -> rest.Route:
    """What lies under a firewall; every user may ask."""
    return rest.Route(
        method="GET",
        path=scope.path,
        handler=index(*names),
        permission=rest.any_user,
        parameters=scope.parameters,
    )


def require_digest(call: rest.Call, entries: Iterable[files.Entry]) -> None:
    """Raise `errors.Failure` where the caller knew another state of what it changes."""
    if call.text("digest") not in ("", files.digest_of(entries)):
        raise errors.Failure(_MODIFIED)
