"""What the calls about software-defined networks have in common."""

from pve402_devnet.pve import errors, rest, sdn
from pve402_devnet.pve.guest_schema import flag, text
from pve402_devnet.pve.schema import Property

ID = Property(pattern=r"[a-zA-Z][a-zA-Z0-9]*[a-zA-Z0-9]", min_length=2, max_length=8)
LOCK = {"lock-token": text()}
WHICH = {"pending": flag(), "running": flag()}
READERS = ("SDN.Audit", "SDN.Allocate")


def may_see(call: rest.Call, path: str) -> bool:
    """Whether the caller may look at a zone or a network."""
    return any(call.may(path, privilege) for privilege in READERS)


def network(call: rest.Call, *privileges: str) -> sdn.Network:
    """Find a network that the caller has one of the privileges on."""
    name = call.text("vnet")
    found = call.world.networks.written.networks.get(name)
    if found is None:
        raise errors.Failure(f"sdn '{name}' does not exist")
    path = f"/sdn/zones/{found.zone}/{name}"
    call.world.access.require_any(call.user, path, *privileges)
    return found


def route(
    method: str,
    path: str,
    handler: rest.Handler,
    permission: rest.Permission = rest.any_user,
    /,
    **parameters: Property,
) -> rest.Route:
    """A call below `/cluster/sdn`; one that changes something is protected."""
    return rest.Route(
        method=method,
        path=f"/cluster/sdn{path}",
        handler=handler,
        permission=permission,
        parameters=parameters,
        protected=method != "GET",
    )
