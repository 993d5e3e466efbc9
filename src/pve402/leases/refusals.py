"""Says in a tenant's words why an order was refused."""

from pve402.domain import errors, order

_NOT_CHARGED = {
    "create_failed": "The container could not be created; nothing was charged.",
    "start_failed": "The container could not be started; nothing was charged.",
    "creation_timed_out": "The container took too long to come up; nothing was charged.",
    "guest_missing": "The container is gone; nothing was charged.",
    "payment_expired": "The payment would have expired before it was settled; nothing was charged.",
}


def refusal_of(row: order.Order) -> errors.Pve402Error:
    """Return the error to answer for a refused order."""
    refusal = row.refusal or "settlement_refused"
    if refusal in _NOT_CHARGED:
        return errors.ProvisioningFailed(_NOT_CHARGED[refusal])
    return errors.PaymentRefused(
        "The payment was not settled; nothing was charged.", reason=refusal
    )
