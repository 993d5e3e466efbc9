"""Hands out the addresses of network profiles, under the placement lock, and takes them back.

A lease keeps its addresses from its reservation to its end: through grace, onto another node, and
in the warm pool.
"""

from collections.abc import Mapping

from pve402.domain import catalogue, errors, lease, networks
from pve402.leases import guest_specs, options
from pve402.storage import address_rows, database, transaction

_USED_UP = "every address of this network is in use or was freed too recently"


async def reserve(
    db: database.Database,
    tx: transaction.Transaction,
    lease_id: str,
    network: networks.NetworkProfile,
    settings: options.LeaseOptions,
) -> Mapping[str, str]:
    """Reserve an address of each of a network's pools for a lease; return them by family.

    The caller holds the placement lock. Raises NoCapacity if a pool has none left.
    """
    if not network.pools:
        return {}
    taken = await address_rows.list_taken(db, tx)
    found: dict[str, str] = {}
    await address_rows.forget(db, tx, settings.address_history_seconds)
    if await _is_in_use_unrecorded(tx, network):
        raise errors.NoCapacity(_USED_UP)
    for pool in network.pools:
        newest = await address_rows.newest(tx, network.name, pool.version)
        address = pool.next_free(taken, newest)
        if address is None:
            raise errors.NoCapacity(_USED_UP)
        found[guest_specs.FAMILIES[pool.version]] = str(address)
        await address_rows.take(
            db,
            tx,
            str(address),
            version=pool.version,
            network=network.name,
            lease_id=lease_id,
        )
    return found


async def restore(db: database.Database, tx: transaction.Transaction, row: lease.Lease) -> None:
    """Write again that a lost lease has its addresses."""
    for version, family in guest_specs.FAMILIES.items():
        if family in row.addresses:
            await address_rows.take_back(
                db,
                tx,
                row.addresses[family],
                version=version,
                network=row.network,
                lease_id=row.lease_id,
            )


async def give_back_learned(
    db: database.Database,
    tx: transaction.Transaction,
    row: lease.Lease,
    network: networks.NetworkProfile | None,
    settings: options.LeaseOptions,
) -> Mapping[str, str]:
    """Release the addresses that others gave to a guest that is gone; return those it keeps."""
    learned = {one.family for one in network.learned} if network is not None else set()
    gone = [row.addresses[family] for family in learned & row.addresses.keys()]
    if gone:
        rest = settings.address_rest_seconds
        await address_rows.release(db, tx, row.lease_id, rest, *gone)
    return {family: one for family, one in row.addresses.items() if family not in learned}


async def used_up(db: database.Database, sku_catalogue: catalogue.Catalogue) -> frozenset[str]:
    """Return the names of the networks on sale that have no address left."""
    pooled = [profile for profile in sku_catalogue.networks_on_sale.values() if profile.pools]
    if not pooled:
        return frozenset()
    async with db.read() as tx:
        return frozenset([one.name for one in pooled if await _is_used_up(db, tx, one)])


async def _is_used_up(
    db: database.Database, tx: transaction.Transaction, network: networks.NetworkProfile
) -> bool:
    taken = await address_rows.list_taken(db, tx)
    is_full = not all(pool.has_free(taken) for pool in network.pools)
    return is_full or await _is_in_use_unrecorded(tx, network)


async def _is_in_use_unrecorded(
    tx: transaction.Transaction, network: networks.NetworkProfile
) -> bool:
    """Return whether a lease from before our records has the one address of PVE_IP."""
    return network.is_of_variables and await address_rows.has_unrecorded(tx, network.name)
