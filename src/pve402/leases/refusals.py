"""Says in a tenant's words why an order was refused."""

from pve402.domain import errors, order, owed

_NOT_CHARGED = {
    "create_failed": "The container could not be created; nothing was charged.",
    "start_failed": "The container could not be started; nothing was charged.",
    "no_address": "The network had no address for the container; nothing was charged.",
    "creation_timed_out": "The container took too long to come up; nothing was charged.",
    "guest_missing": "The container is gone; nothing was charged.",
    "image_failed": "The container could not be saved; nothing was charged.",
    "saving_timed_out": "The container took too long to be saved; nothing was charged.",
    "payment_expired": "The payment would have expired before it was settled; nothing was charged.",
}


def refusal_of(row: order.Order) -> errors.Pve402Error:
    """Return the error to answer for a refused order."""
    refusal = row.refusal or "settlement_refused"
    if row.owed_id is not None:
        words = f"The container could not be created; {row.owed_id} is owed as before."
        return errors.ProvisioningFailed(words)
    if refusal in _NOT_CHARGED:
        return errors.ProvisioningFailed(_NOT_CHARGED[refusal])
    return errors.PaymentRefused(
        "The payment was not settled; nothing was charged.", reason=refusal
    )


_WHY = {
    owed.OwedReason.UNDELIVERED: "The payment was taken, and the container did not come up.",
    owed.OwedReason.PAID_LATE: "The transfer arrived after its order had been refused.",
    owed.OwedReason.LEASE_OVER: "The transfer arrived after the lease had ended.",
}


def owed_for(debt: owed.Owed | None) -> errors.PaymentOwed:
    """Return the error to answer for an order that was paid and bought nothing."""
    if debt is None:
        return errors.PaymentOwed()
    if debt.status is owed.OwedStatus.PAYING_BACK:
        words = f"The operator is paying it back ({debt.owed_id})."
    elif debt.closed_at is not None:
        words = f"What was owed for it ({debt.owed_id}) is redeemed or paid back."
    else:
        words = (
            f"It is owed to the wallet that paid: sign in with it, then "
            f"POST /owed/{debt.owed_id}/redeem. Do not pay again."
        )
    return errors.PaymentOwed(f"{_WHY[debt.reason]} {words}")
