"""`/access/users` and their tokens."""

import uuid
from collections.abc import Mapping

from pve402_devnet.pve import access, errors, formats, rest
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Property

_USER = Property(format="pve-userid", max_length=64)
_TOKEN = Property(pattern=r"[A-Za-z][A-Za-z0-9.\-_]+")
_ACCOUNT = {
    "enable": flag(),
    "expire": number(0),
    "firstname": text(max_length=1024),
    "lastname": text(max_length=1024),
    "email": text(max_length=254),
    "comment": text(max_length=2048),
    "keys": text(),
    "groups": text(format="pve-groupid-list"),
}
_TOKEN_SETTINGS = {"expire": number(0), "privsep": flag(), "comment": text()}


async def list_users(call: rest.Call) -> rest.Json:
    """The accounts that the caller may see: all with the rights for that, otherwise its own."""
    all_of_them = call.may("/access/groups", "User.Modify") or call.may(
        "/access/groups", "Sys.Audit"
    )
    rows = []
    for name, user in sorted(call.world.access.users.items()):
        if not all_of_them and name != call.user.partition("!")[0]:
            continue
        row = {**_shown(user), "userid": name, "realm-type": name.rpartition("@")[2]}
        if call.flag("full"):
            row["groups"] = ""
            row["tokens"] = [{"tokenid": t, **k.info()} for t, k in sorted(user.tokens.items())]
        if "enabled" not in call.params or call.flag("enabled") == user.enabled:
            rows.append(row)
    return rows


async def create_user(call: rest.Call) -> rest.Json:
    """Create an account in the realm pve."""
    name = call.text("userid")
    if name in call.world.access.users:
        raise errors.Failure(f"create user failed: user '{name}' already exists")
    call.world.access.users[name] = access.User(
        enabled=bool(call.params.get("enable", 1)),
        comment=call.text("comment"),
        expire=call.integer("expire", 0),
        password=call.text("password"),
    )
    return None


async def read_user(call: rest.Call) -> rest.Json:
    """One account with its tokens."""
    user = _existing(call)
    tokens = {name: token.info() for name, token in user.tokens.items()}
    return {**_shown(user), "groups": [], "tokens": tokens}


async def update_user(call: rest.Call) -> rest.Json:
    """Change an account."""
    user = _existing(call)
    if "enable" in call.params:
        user.enabled = call.flag("enable")
    if "expire" in call.params:
        user.expire = call.integer("expire", 0)
    user.comment = call.text("comment", user.comment)
    return None


async def delete_user(call: rest.Call) -> rest.Json:
    """Remove an account with its tokens and rights; a missing one is not an error."""
    known, name = call.world.access, call.text("userid")
    user = known.users.get(name)
    if user is None:
        return None
    for token in user.tokens:
        known.forget(f"{name}!{token}")
    known.forget(name)
    del known.users[name]
    return None


async def list_tokens(call: rest.Call) -> rest.Json:
    """The tokens of an account, without their secrets."""
    return [{"tokenid": name, **token.info()} for name, token in _existing(call).tokens.items()]


async def read_token(call: rest.Call) -> rest.Json:
    """One token."""
    return _token(call).info()


async def create_token(call: rest.Call) -> rest.Json:
    """Create a token; its secret is shown only now."""
    user, name = _existing(call), call.text("tokenid")
    if name in user.tokens:
        raise errors.ParameterErrors({"tokenid": "Token already exists."})
    token = access.Token(
        privilege_separated=bool(call.params.get("privsep", 1)),
        comment=call.text("comment"),
        expire=call.integer("expire", 0),
        secret=str(uuid.uuid4()),
    )
    user.tokens[name] = token
    full_id = f"{call.text('userid')}!{name}"
    info = token.info() | _as_sent(call)
    return {"info": info, "value": token.secret, "full-tokenid": full_id}


async def update_token(call: rest.Call) -> rest.Json:
    """Change a token's settings."""
    token = _token(call)
    if "privsep" in call.params:
        token.privilege_separated = call.flag("privsep")
    token.expire = call.integer("expire", token.expire)
    token.comment = call.text("comment", token.comment)
    for name in formats.split_list(call.text("delete")):
        if name != "comment":
            raise errors.ParameterErrors({"delete": f"unknown option '{name}'"})
        token.comment = ""
    shown = token.info() | _as_sent(call)
    if not call.flag("regenerate"):
        return shown
    token.secret = str(uuid.uuid4())
    full_id = f"{call.text('userid')}!{call.text('tokenid')}"
    return {**shown, "value": token.secret, "full-tokenid": full_id}


async def delete_token(call: rest.Call) -> rest.Json:
    """Remove a token with its rights."""
    _token(call)
    name = call.text("tokenid")
    del _existing(call).tokens[name]
    call.world.access.forget(f"{call.text('userid')}!{name}")
    return None


def _as_sent(call: rest.Call) -> dict[str, object]:
    """Numbers from the call are shown as they arrived: as text."""
    return {name: str(call.params[name]) for name in ("expire", "privsep") if name in call.params}


def _shown(user: access.User) -> dict[str, object]:
    shown: dict[str, object] = {"enable": int(user.enabled), "expire": user.expire}
    if user.comment:
        shown["comment"] = user.comment
    return shown


def _existing(call: rest.Call) -> access.User:
    name = call.text("userid")
    user = call.world.access.users.get(name)
    if user is None:
        raise errors.Failure(f"no such user ('{name}')")
    return user


def _token(call: rest.Call) -> access.Token:
    name = call.text("tokenid")
    token = _existing(call).tokens.get(name)
    if token is None:
        raise errors.Failure(f"no such token '{name}' for user '{call.text('userid')}'")
    return token


def _manages_users(known: access.Access, user: str, values: Mapping[str, object]) -> None:
    realm = str(values.get("userid", "")).rpartition("@")[2]
    known.require(user, f"/access/realm/{realm}", "Realm.AllocateUser")
    known.require_any(user, "/access/groups", "User.Modify")


def _self_or_manager(known: access.Access, user: str, values: Mapping[str, object]) -> None:
    if user != values.get("userid") and not known.may(user, "/access/groups", "User.Modify"):
        raise errors.PermissionDenied


_READS_USERS = rest.needs_any("/access/groups", "User.Modify", "Sys.Audit")
_CHANGES_USERS = rest.needs_any("/access/groups", "User.Modify")
_USER_TOKEN = {"userid": _USER, "tokenid": _TOKEN}

ROUTES = (
    rest.access_route("GET", "users", list_users, rest.any_user, enabled=flag(), full=flag()),
    rest.access_route(
        "POST",
        "users",
        create_user,
        _manages_users,
        userid=_USER,
        password=Property(optional=True, min_length=8, max_length=64),
        **_ACCOUNT,
    ),
    rest.access_route("GET", "users/{userid}", read_user, _READS_USERS, userid=_USER),
    rest.access_route(
        "PUT",
        "users/{userid}",
        update_user,
        _CHANGES_USERS,
        userid=_USER,
        append=Property(type="boolean", optional=True, requires="groups"),
        **_ACCOUNT,
    ),
    rest.access_route("DELETE", "users/{userid}", delete_user, _manages_users, userid=_USER),
    rest.access_route("GET", "users/{userid}/token", list_tokens, _self_or_manager, userid=_USER),
    rest.access_route(
        "GET", "users/{userid}/token/{tokenid}", read_token, _self_or_manager, **_USER_TOKEN
    ),
    rest.access_route(
        "POST",
        "users/{userid}/token/{tokenid}",
        create_token,
        _self_or_manager,
        **_USER_TOKEN,
        **_TOKEN_SETTINGS,
    ),
    rest.access_route(
        "PUT",
        "users/{userid}/token/{tokenid}",
        update_token,
        _self_or_manager,
        regenerate=flag(),
        delete=text(format="pve-configid-list"),
        **_USER_TOKEN,
        **_TOKEN_SETTINGS,
    ),
    rest.access_route(
        "DELETE", "users/{userid}/token/{tokenid}", delete_token, _self_or_manager, **_USER_TOKEN
    ),
)
