"""Answers about money that is owed."""

from pve402 import schemas
from pve402.api.messages import leases
from pve402.domain import owed, price
from pve402.leases import redeeming
from pve402.payments import addresses, networks


def debt(row: owed.Owed) -> schemas.OwedItem:
    """Describe a debt."""
    return schemas.OwedItem(
        owed_id=row.owed_id,
        status=row.status.value,
        reason=row.reason.value,
        network=leases.network_name(row.network),
        payer=addresses.checksum(row.payer),
        amount=str(row.left_atomic),
        usd=_usd(row.network, row.left_atomic),
        transaction=row.transaction,
        since=row.since,
        redeemable_at=None,
    )


def undelivered(found: redeeming.Undelivered) -> schemas.OwedItem:
    """Describe a paid order whose container is still being tried."""
    row = found.order
    return schemas.OwedItem(
        owed_id=row.owed_id,
        status="delivering",
        reason=owed.OwedReason.UNDELIVERED.value,
        network=leases.network_name(row.network),
        payer=addresses.checksum(row.payer),
        amount=str(row.share_atomic),
        usd=_usd(row.network, row.share_atomic),
        transaction=row.transaction,
        since=row.settled_at or row.created_at,
        redeemable_at=found.until,
    )


def _usd(network: str, amount_atomic: int) -> str:
    return price.usd_of(amount_atomic, networks.BY_CAIP2[network].decimals)
