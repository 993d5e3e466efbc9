"""Shows the operator what is owed to tenants, and closes what was paid back."""

import dataclasses
import json
import re
import sys
from datetime import datetime

from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import owed, price
from pve402.leases import redeeming, repayment, withdrawal
from pve402.ops import screen
from pve402.payments import errors as payment_errors
from pve402.payments import networks
from pve402.storage import owed_rows

EXIT_NOT_REPAID = 1
EXIT_UNREACHABLE = 3
_COLUMNS = ("owedId", "payer", "network", "amount", "since", "why", "tries", "state")
_REFUSALS = (
    repayment.NotRepaid,
    withdrawal.NotWithdrawn,
    payment_errors.ChainUnavailable,
)
_TRANSACTION = re.compile(r"0x[0-9a-fA-F]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
    """A debt, or a paid order that is still being tried."""

    owed_id: str
    order_id: str
    payer: str
    network: str
    amount_atomic: int
    since: datetime
    why: str
    tries: int
    state: str
    transaction: str | None
    last_error: str | None

    @property
    def amount(self) -> str:
        chain = networks.BY_CAIP2.get(self.network)
        if chain is None:
            return f"{self.amount_atomic} atomic units"
        return f"{price.usd_of(self.amount_atomic, chain.decimals)} {chain.symbol}"


async def show(parts: bootstrap.Components, console: Console, *, as_json: bool = False) -> int:
    """Print what is owed, and paid orders that are still being tried; return 0."""
    async with parts.db.read() as tx:
        debts = await owed_rows.list_open(tx)
        tried = await owed_rows.list_undelivered(tx)
    rows = [_of_debt(debt) for debt in debts]
    rows += [_of_order(one) for one in redeeming.undelivered_of(tried, parts.lease_options)]
    if as_json:
        sys.stdout.write(json.dumps([_facts(row) for row in rows], indent=2) + "\n")
        return 0
    if not rows:
        console.print("nothing is owed")
        return 0
    table = Table(*_COLUMNS, box=None)
    for row in rows:
        since = row.since.strftime("%Y-%m-%d %H:%M:%S")
        why = screen.plain(f"{row.why}: {row.last_error}" if row.last_error else row.why)
        facts = (row.owed_id, row.payer, row.network, row.amount, since, why)
        table.add_row(*facts, str(row.tries), row.state)
    screen.print_whole(console, table)
    return 0


async def close(
    parts: bootstrap.Components,
    console: Console,
    *,
    transaction: str,
    owed_id: str | None = None,
) -> int:
    """Close the debts that a transaction pays back; return 0, 1 if there is none, 3."""
    if not _TRANSACTION.fullmatch(transaction):
        sys.stderr.write("--paid is the hash of a transaction: 0x and 64 hex digits\n")
        return 2
    paying = repayment.Repayment(
        parts.db,
        parts.settler,
        parts.settings.network,
        parts.withdrawal,
        confirmations=parts.lease_options.confirmations,
    )
    try:
        closed = await paying.close(transaction.lower(), owed_id)
    except _REFUSALS as error:
        return _refuse("closed", error)
    for one in closed:
        row = _of_debt(one.debt)
        console.print(f"closed {row.owed_id}: {row.amount} paid back to {row.payer}")
        if (more := one.paid_atomic - row.amount_atomic) > 0:
            left = dataclasses.replace(row, amount_atomic=more).amount
            console.print(f"{row.payer} got {left} more than was still owed")
    return 0


async def reserve(parts: bootstrap.Components, console: Console, *, name: str) -> int:
    """Take money out of delivery and redemption, to pay it back; return 0, 1 if not, 3."""
    try:
        debt = await parts.withdrawal.reserve(name)
    except _REFUSALS as error:
        return _refuse("reserved", error)
    row = _of_debt(debt)
    console.print(f"reserved {debt.owed_id}: send {row.amount} to {debt.payer} on {debt.network}")
    return 0


async def release(parts: bootstrap.Components, console: Console, *, owed_id: str) -> int:
    """Make a reserved debt redeemable again; return 0, 1 if it is not reserved."""
    try:
        debt = await parts.withdrawal.release(owed_id)
    except _REFUSALS as error:
        return _refuse("released", error)
    console.print(f"released {debt.owed_id}; {debt.payer} can redeem it again")
    return 0


def _refuse(done: str, error: Exception) -> int:
    """Say why nothing was done; return the exit code."""
    if isinstance(error, payment_errors.ChainUnavailable):
        sys.stderr.write(f"nothing is {done}: the chain cannot be read: {error}\n")
        return EXIT_UNREACHABLE
    sys.stderr.write(f"nothing is {done}: {error}\n")
    return EXIT_NOT_REPAID


def _of_debt(debt: owed.Owed) -> _Row:
    return _Row(
        owed_id=debt.owed_id,
        order_id=debt.order_id,
        payer=debt.payer,
        network=debt.network,
        amount_atomic=debt.left_atomic,
        since=debt.since,
        why=debt.reason.value,
        tries=debt.tries,
        state=debt.status.value.replace("_", " "),
        transaction=debt.transaction,
        last_error=debt.last_error,
    )


def _of_order(tried: redeeming.Undelivered) -> _Row:
    row = tried.order
    return _Row(
        owed_id=row.owed_id or "",
        order_id=row.order_id,
        payer=row.payer,
        network=row.network,
        amount_atomic=row.share_atomic,
        since=row.settled_at or row.created_at,
        why=owed.OwedReason.UNDELIVERED.value,
        tries=row.tries,
        state=f"tried until {tried.until:%Y-%m-%d %H:%M:%S}",
        transaction=row.transaction,
        last_error=row.last_error,
    )


def _facts(row: _Row) -> dict[str, str | int | None]:
    return {
        "owedId": row.owed_id or None,
        "orderId": row.order_id,
        "payer": row.payer,
        "network": row.network,
        "amountAtomic": str(row.amount_atomic),
        "amount": row.amount,
        "since": row.since.isoformat(),
        "why": row.why,
        "tries": row.tries,
        "state": row.state,
        "transaction": row.transaction,
        "lastError": row.last_error,
    }
