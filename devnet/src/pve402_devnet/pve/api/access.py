"""`/access/ticket`, `/access/vncticket`, `/access/permissions` and `/access/domains`."""

import hmac

from pve402_devnet.pve import access, errors, formats, rest
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Property

_REALMS = ("pam", "pve")
_REFUSED = "authentication failure"


async def domains(call: rest.Call) -> rest.Json:
    """The realms; anybody may ask."""
    return [
        {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
    ]


async def index(call: rest.Call) -> rest.Json:
    """The entries of `/access`."""
    names = "users groups roles acl domains openid tfa ticket password"
    return [{"subdir": name} for name in names.split()]


async def empty(call: rest.Call) -> rest.Json:
    """An empty answer, for forms that read before they send."""
    return None


async def create_ticket(call: rest.Call) -> rest.Json:
    """Log in with a password or a valid ticket, or check a console ticket."""
    user = call.text("username")
    if call.text("realm"):
        user = f"{user}@{call.text('realm')}"
    _authenticate(call, user)
    world = call.world
    answer: dict[str, object] = {"username": user}
    if call.text("path"):
        _require_privileges(call, user, call.text("path"), call.text("privs"))
    else:
        answer["ticket"] = world.tickets.issue_login(user)
        answer["CSRFPreventionToken"] = world.tickets.issue_csrf_token(user)
    if len(world.nodes) > 1 and world.access.may(user, "/", "Sys.Audit"):
        answer["clustername"] = "devnet"
    return {**answer, "cap": world.access.capabilities(user)}


async def check_console_ticket(call: rest.Call) -> rest.Json:
    """Tell termproxy whether its client's first line is valid."""
    user, path = call.text("authid"), call.text("path")
    good = call.world.tickets.is_console(
        call.text("vncticket"), user, path, call.integer("port", 0)
    )
    if not good:
        raise errors.LoginRefused(_REFUSED)
    _require_privileges(call, user, path, call.text("privs"))
    return None


async def permissions(call: rest.Call) -> rest.Json:
    """The privileges of the caller, of one of its tokens, or of anybody with Sys.Audit."""
    user = call.text("userid", call.user)
    owner = user.partition("!")[0]
    if user != call.user and (owner == user or owner != call.user):
        call.require("/access", "Sys.Audit")
    path = call.text("path")
    if path:
        return {path: call.world.access.rights(user, path)}
    return call.world.access.effective_rights(user)


def _authenticate(call: rest.Call, user: str) -> None:
    world, shown = call.world, call.text("password")
    known = world.access.users.get(user)
    if known is None or not world.doorkeeper.is_usable(user):
        raise errors.LoginRefused(_REFUSED)
    by_ticket = world.tickets.login_user(shown)
    if by_ticket in (user, access.ROOT):
        return
    right = hmac.compare_digest(known.password.encode(), shown.encode())
    if not known.password or not right or user.rpartition("@")[2] not in _REALMS:
        raise errors.LoginRefused(_REFUSED)


def _require_privileges(call: rest.Call, user: str, path: str, wanted: str) -> None:
    privileges = formats.split_list(wanted)
    if not privileges or not call.world.access.may(user, path, *privileges):
        raise errors.LoginRefused(_REFUSED)


ROUTES = (
    rest.Route(method="GET", path="/access", handler=index, permission=rest.any_user),
    rest.Route(method="GET", path="/access/domains", handler=domains, permission=rest.anyone),
    rest.Route(method="GET", path="/access/ticket", handler=empty, permission=rest.anyone),
    rest.Route(
        method="POST",
        path="/access/ticket",
        handler=create_ticket,
        permission=rest.anyone,
        parameters={
            "username": Property(max_length=64),
            "realm": text(format="pve-realm", max_length=32),
            "password": Property(),
            "otp": text(),
            "path": Property(optional=True, max_length=64, requires="privs"),
            "privs": Property(
                optional=True, max_length=64, requires="path", format="pve-priv-list"
            ),
            "new-format": flag(),
            "tfa-challenge": text(),
        },
        protected=True,
        allow_token=False,
    ),
    rest.Route(
        method="POST",
        path="/access/vncticket",
        handler=check_console_ticket,
        permission=rest.anyone,
        parameters={
            "authid": Property(max_length=64),
            "vncticket": Property(),
            "path": Property(max_length=64),
            "privs": Property(max_length=64, format="pve-priv-list"),
            "port": number(),
        },
        protected=True,
    ),
    rest.Route(
        method="GET",
        path="/access/permissions",
        handler=permissions,
        permission=rest.any_user,
        parameters={"userid": text(pattern=r"[^\s:/]+@[^\s:/]+"), "path": text()},
    ),
)
