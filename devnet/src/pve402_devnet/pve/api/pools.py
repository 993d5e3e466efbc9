"""`/pools`: sets of guests and storages with rights of their own."""

from pve402_devnet.pve import access, errors, figures, formats, rest
from pve402_devnet.pve.guest_schema import flag, text
from pve402_devnet.pve.schema import Property

_POOL = Property(format="pve-poolid")
_MEMBERS = {
    "vms": text(format="pve-vmid-list"),
    "storage": text(format="pve-storage-id-list"),
    "allow-move": flag(),
    "delete": flag(),
    "comment": text(),
}


async def list_pools(call: rest.Call) -> rest.Json:
    """The pools that the caller may see; for a named pool also its members."""
    wanted = call.text("poolid")
    if wanted:
        return [{"poolid": wanted, **_shown(call, wanted)}]
    return [
        {"poolid": name, **({"comment": pool.comment} if pool.comment else {})}
        for name, pool in sorted(call.world.access.pools.items())
        if call.may(f"/pool/{name}", "Pool.Audit")
    ]


async def create(call: rest.Call) -> rest.Json:
    """Create an empty pool."""
    pools, name = call.world.access.pools, call.text("poolid")
    if name in pools:
        raise errors.Failure(f"create pool failed: pool '{name}' already exists")
    parent, separator, leaf = name.rpartition("/")
    if separator and parent not in pools:
        raise errors.Failure(
            f"create pool failed: parent '{parent}' of pool '{name}' does not exist"
        )
    if not leaf[0].isalpha():
        raise errors.Failure("create pool failed: pool name must start with a letter")
    pools[name] = access.Pool(comment=call.text("comment"))
    return None


async def read(call: rest.Call) -> rest.Json:
    """One pool with its members."""
    return _shown(call, call.text("poolid"))


async def update(call: rest.Call) -> rest.Json:
    """Change the comment, or add or remove members."""
    pool = _existing(call, call.text("poolid"), "update pools failed: ")
    if "comment" in call.params:
        pool.comment = call.text("comment")
    for vmid in formats.split_list(call.text("vms")):
        call.world.access.require_any(
            call.user, f"/vms/{vmid}", "Permissions.Modify", "VM.Allocate"
        )
        _change_guest(call, pool, int(vmid))
    for name in formats.split_list(call.text("storage")):
        call.world.access.require_any(
            call.user, f"/storage/{name}", "Permissions.Modify", "Datastore.Allocate"
        )
        _change_storage(call, pool, name)
    return None


async def delete(call: rest.Call) -> rest.Json:
    """Remove an empty pool."""
    name = call.text("poolid")
    pool = _existing(call, name, "delete pool failed: ")
    prefix = f"delete pool failed: pool '{name}' is not empty (contains"
    for vmid in sorted(pool.guests):
        raise errors.Failure(f"{prefix} VM {vmid})")
    for storage in sorted(pool.storages):
        raise errors.Failure(f"{prefix} storage '{storage}')")
    del call.world.access.pools[name]
    call.world.access.forget_path(f"/pool/{name}")
    return None


def _shown(call: rest.Call, name: str) -> dict[str, object]:
    pool = _existing(call, name, "")
    members: list[dict[str, object]] = [
        figures.resource_of(call.world.guests[vmid])
        for vmid in sorted(pool.guests)
        if vmid in call.world.guests
    ]
    members += [
        figures.resource_of_storage(found, call.world.local_node)
        for found in call.world.storages
        if found.name in pool.storages
    ]
    comment = {"comment": pool.comment} if pool.comment else {}
    return {"members": members, **comment}


def _existing(call: rest.Call, name: str, prefix: str) -> access.Pool:
    pool = call.world.access.pools.get(name)
    if pool is None:
        raise errors.Failure(f"{prefix}pool '{name}' does not exist")
    return pool


def _change_guest(call: rest.Call, pool: access.Pool, vmid: int) -> None:
    if call.flag("delete"):
        if vmid not in pool.guests:
            raise errors.Failure(f"update pools failed: VM {vmid} is not a pool member")
        pool.guests.discard(vmid)
        return
    if vmid in pool.guests:
        raise errors.Failure(f"update pools failed: VM {vmid} is already a pool member")
    other = call.world.access.pool_of(vmid)
    if other is not None:
        if not call.flag("allow-move"):
            raise errors.Failure(
                f"update pools failed: VM {vmid} belongs already to pool '{other}'"
                " and 'allow-move' is not set"
            )
        call.require(f"/pool/{other}", "Pool.Allocate")
        call.world.access.pools[other].guests.discard(vmid)
    pool.guests.add(vmid)


def _change_storage(call: rest.Call, pool: access.Pool, name: str) -> None:
    member, wanted = name in pool.storages, not call.flag("delete")
    if member == wanted:
        state = "is already" if wanted else "is not"
        raise errors.Failure(f"update pools failed: Storage '{name}' {state} a pool member")
    pool.storages ^= {name}


def _route(
    method: str, path: str, handler: rest.Handler, privilege: str, **parameters: Property
) -> rest.Route:
    return rest.Route(
        method=method,
        path=path,
        handler=handler,
        permission=rest.needs("/pool/{poolid}", privilege),
        parameters=parameters,
        protected=method != "GET",
    )


ROUTES = (
    rest.Route(
        method="GET",
        path="/pools",
        handler=list_pools,
        permission=rest.any_user,
        parameters={
            "poolid": text(format="pve-poolid"),
            "type": Property(optional=True, enum=("qemu", "lxc", "storage"), requires="poolid"),
        },
    ),
    _route("POST", "/pools", create, "Pool.Allocate", poolid=_POOL, comment=text()),
    _route("PUT", "/pools", update, "Pool.Allocate", poolid=_POOL, **_MEMBERS),
    _route("DELETE", "/pools", delete, "Pool.Allocate", poolid=_POOL),
    _route(
        "GET",
        "/pools/{poolid}",
        read,
        "Pool.Audit",
        poolid=_POOL,
        type=text(enum=("qemu", "lxc", "storage")),
    ),
    _route("PUT", "/pools/{poolid}", update, "Pool.Allocate", poolid=_POOL, **_MEMBERS),
    _route("DELETE", "/pools/{poolid}", delete, "Pool.Allocate", poolid=_POOL),
)
