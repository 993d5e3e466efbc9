"""Reserves what a new guest needs: a node with room, a vmid, addresses, and the lease's row.

All in the caller's transaction, which holds the placement lock. Creations, the warm pool and
replacements for broken guests all reserve here.
"""

import dataclasses
import functools
from collections.abc import Sequence

import sqlalchemy as sa

from pve402.domain import errors, happening, lease, making, networks, placement
from pve402.leases import addresses, moves, options
from pve402.storage import database, drain_rows, happening_rows, lease_rows, transaction, vmid_rows

_PLACEMENT_LOCK = 402_402_403


async def lock_placement(db: database.Database, tx: transaction.Transaction) -> None:
    """Let only one transaction at a time, across all replicas, choose a node and a vmid.

    SQLite needs no lock: it has only one writer.
    """
    if not db.is_sqlite:
        await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_PLACEMENT_LOCK)))


async def without_drained(
    tx: transaction.Transaction, rooms: Sequence[placement.NodeRoom]
) -> Sequence[placement.NodeRoom]:
    """Return the rooms of the nodes that the operator is not emptying."""
    drained = await drain_rows.names(tx)
    return [room for room in rooms if room.node not in drained] if drained else rooms


async def reserve(
    db: database.Database,
    tx: transaction.Transaction,
    wanted: lease.Lease,
    settings: options.LeaseOptions,
    *,
    rooms: Sequence[placement.NodeRoom],
    how: making.Making,
    due: bool = False,
) -> lease.Lease:
    """Choose an allowed node (any if none is named), reserve vmid and addresses, write the lease.

    A guest without a host name is named after its vmid. Raises NoCapacity.
    """
    rooms = await without_drained(tx, rooms)
    promises = await lease_rows.list_promises(tx)
    room = placement.choose_room(
        rooms,
        promises,
        wanted.size,
        allowed=how.nodes,
        limits=settings.limits,
        storages=how.storages,
    )
    network = how.network
    vmid = await _reserve_vmid(db, tx, wanted.lease_id, settings)
    row = wanted.evolve(
        node=room.node,
        storage=room.storage or None,
        vmid=vmid,
        hostname=wanted.hostname or f"ready-{vmid}",
        network=network.name,
        made_of=how.made_of,
        link=_first_link(wanted, network),
        address_count=len(network.known),
        addresses=await addresses.reserve(db, tx, wanted.lease_id, network, settings),
    )
    await moves.reserve(db, tx, row, due=due)
    return row


async def reserve_image(
    db: database.Database,
    tx: transaction.Transaction,
    wanted: lease.Lease,
    settings: options.LeaseOptions,
) -> lease.Lease:
    """Reserve a vmid for an image whose place is chosen, and write its row, due at once.

    Raises NoCapacity.
    """
    vmid = await _reserve_vmid(db, tx, wanted.lease_id, settings)
    row = wanted.evolve(vmid=vmid, hostname=f"image-{vmid}")
    await moves.reserve(db, tx, row, due=True)
    return row


async def reserve_private_image(
    db: database.Database,
    tx: transaction.Transaction,
    wanted: lease.Lease,
    settings: options.LeaseOptions,
) -> lease.Lease:
    """Reserve a vmid for a private image whose place is chosen, and write its row.

    Its order makes it, so it is not due. Raises NoCapacity.
    """
    row = wanted.evolve(vmid=await _reserve_vmid(db, tx, wanted.lease_id, settings))
    await moves.reserve(db, tx, row)
    return row


async def reserve_without_card(
    db: database.Database,
    tx: transaction.Transaction,
    wanted: lease.Lease,
    settings: options.LeaseOptions,
    *,
    rooms: Sequence[placement.NodeRoom],
    storages: Sequence[str],
) -> lease.Lease:
    """Choose a room and reserve a vmid for a guest without a network. Raises NoCapacity."""
    promises = await lease_rows.list_promises(tx)
    limits = dataclasses.replace(settings.limits, leases_per_node=None)
    room = placement.choose_room(
        rooms, promises, wanted.size, allowed=frozenset(), limits=limits, storages=storages
    )
    vmid = await _reserve_vmid(db, tx, wanted.lease_id, settings)
    row = wanted.evolve(
        node=room.node, storage=room.storage or None, vmid=vmid, hostname=f"trial-{vmid}"
    )
    await moves.reserve(db, tx, row)
    return row


def _first_link(wanted: lease.Lease, network: networks.NetworkProfile) -> networks.Link:
    """Return whether a new guest's card is down: until its rules stand, a copy's until it is paid.

    The doctor takes down that of its trial later.
    """
    waits = (network.is_isolated and not wanted.is_trial) or wanted.is_copy
    return networks.Link.PENDING if waits else networks.Link.READY


async def check_return(
    tx: transaction.Transaction,
    row: lease.Lease,
    settings: options.LeaseOptions,
    *,
    rooms: Sequence[placement.NodeRoom],
) -> None:
    """Raise NoCapacity if a guest that kept only its disk cannot run again on its node."""
    usable = await without_drained(tx, rooms)
    promises = await lease_rows.list_promises(tx)
    placement.check_return(usable, promises, row.size, node=row.node, limits=settings.limits)


async def change_vmid(
    db: database.Database,
    tx: transaction.Transaction,
    row: lease.Lease,
    settings: options.LeaseOptions,
    note: str,
) -> lease.Lease:
    """Give a lease another vmid, because a foreign guest has its own."""
    await vmid_rows.release(db, tx, row.vmid, row.lease_id, note)
    vmid = await _reserve_vmid(db, tx, row.lease_id, settings)
    return await moves.change_vmid(tx, row, vmid)


async def make_anew(
    db: database.Database,
    tx: transaction.Transaction,
    row: lease.Lease,
    settings: options.LeaseOptions,
    *,
    rooms: Sequence[placement.NodeRoom],
    how: making.Making | None,
    keeps_vmid: bool,
) -> lease.Lease:
    """Move a lease whose guest is gone to another node if one has room, with another vmid or not.

    It gives back what its guest was given by others. Without `how`, its network is gone, and any
    place will do. Raises NoCapacity.
    """
    rooms = await without_drained(tx, rooms)
    promises = await lease_rows.list_promises(tx)
    choose = functools.partial(
        placement.choose_room,
        promises=promises,
        size=row.size,
        allowed=how.nodes if how is not None else frozenset(),
        limits=settings.limits,
        storages=how.storages if how is not None else (),
    )
    try:
        room = choose(_without(rooms, row.node))
    except errors.NoCapacity:
        room = choose(rooms)
    vmid = row.vmid
    if not keeps_vmid:
        await vmid_rows.release(db, tx, row.vmid, row.lease_id, "the guest did not start")
        vmid = await _reserve_vmid(db, tx, row.lease_id, settings)
    network = None if how is None else how.network
    kept = await addresses.give_back_learned(db, tx, row, network, settings)
    storage = room.storage or None
    moved = await moves.make_anew(
        tx, row, node=room.node, storage=storage, vmid=vmid, addresses=kept
    )
    places = f"{row.node}/{row.vmid} given up for {room.node}/{vmid}"
    anew = happening.Kind.MADE_ANEW
    await happening_rows.add(db, tx, anew, places, lease_id=row.lease_id, vmid=row.vmid)
    return moved


async def reserve_elsewhere(
    db: database.Database,
    tx: transaction.Transaction,
    wanted: lease.Lease,
    settings: options.LeaseOptions,
    *,
    rooms: Sequence[placement.NodeRoom],
    how: making.Making,
) -> lease.Lease:
    """Reserve for a lease that names the node to avoid, if another has room. Raises NoCapacity."""
    reserving = functools.partial(reserve, db, tx, wanted, settings, how=how)
    try:
        return await reserving(rooms=_without(rooms, wanted.node))
    except errors.NoCapacity:
        return await reserving(rooms=rooms)


def _without(rooms: Sequence[placement.NodeRoom], node: str) -> list[placement.NodeRoom]:
    return [room for room in rooms if room.node != node]


async def restore(db: database.Database, tx: transaction.Transaction, row: lease.Lease) -> None:
    """Write a lost lease again, with the node, vmid and addresses of its existing guest."""
    await moves.restore(db, tx, row.evolve(address_count=len(row.addresses)))
    await addresses.restore(db, tx, row)
    await vmid_rows.take(db, tx, row.vmid, row.lease_id)


async def _reserve_vmid(
    db: database.Database,
    tx: transaction.Transaction,
    lease_id: str,
    settings: options.LeaseOptions,
) -> int:
    least, most = settings.vmid_min, settings.vmid_max
    return await vmid_rows.reserve(db, tx, lease_id, least=least, most=most)
