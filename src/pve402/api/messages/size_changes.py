"""Changes of size as answers show them."""

from typing import Any

from pve402 import schemas
from pve402.api.messages import prices
from pve402.domain import lease, meter, size_changes
from pve402.leases.alterations.size_changes import Outcome, Plan


def quoted(plan: Plan) -> schemas.ChangeAnswer:
    """What a change would do."""
    return schemas.ChangeAnswer(
        lease_id=plan.row.lease_id,
        ctid=plan.row.ctid,
        state="unchanged" if plan.is_nothing else "quote",
        before=_priced(plan.row.size, plan.before.burn),
        after=_priced(plan.size, plan.after.burn),
        expires_at=plan.after.ends_at,
    )


def answer(outcome: Outcome) -> schemas.ChangeAnswer:
    """The latest change of a lease, or that there is none."""
    row, made = outcome.lease, outcome.change
    shown: dict[str, Any] = {"lease_id": row.lease_id, "ctid": row.ctid}
    shown["expires_at"] = row.expires_at
    if made is None:
        metered = meter.of(row)
        burn = meter.LEAST_BURN if metered is None else metered.burn
        size = _priced(row.size, burn)
        return schemas.ChangeAnswer(**shown, state="unchanged", before=size, after=size)
    refused = size_changes.refusal(made.problem)
    return schemas.ChangeAnswer(
        **shown,
        state=made.state.value,
        problem=None if refused is None else refused.code,
        before=_priced(made.before, made.burn_before),
        after=_priced(made.after, made.burn_after),
    )


def _priced(size: lease.Size, burn: int) -> schemas.SizeAtPrice:
    return schemas.SizeAtPrice(
        cores=size.cores,
        memory_mb=size.memory_mb,
        disk_gb=size.disk_gb,
        minute_usd=prices.usd(meter.minute_usd(burn)),
    )
