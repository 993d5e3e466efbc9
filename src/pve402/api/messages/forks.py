"""Requests for copies of a container, and the answers."""

from pve402 import schemas
from pve402.api.messages import leases, prices
from pve402.domain import errors, forks, lease, order, ssh_keys
from pve402.domain.request import CreationRequest
from pve402.jump import way
from pve402.leases import outcome
from pve402.leases.forks import Offer


def to_creation(row: lease.Lease, wish: schemas.ForkRequest) -> CreationRequest:
    """Translate the body into a domain request. Raises OutOfBounds."""
    if not 1 <= wish.count <= forks.MOST_ALLOWED:  # an operator may allow fewer
        raise errors.OutOfBounds(f"count must be 1 to {forks.MOST_ALLOWED}")
    return CreationRequest(
        sku=row.sku,
        minutes=wish.runtime_minutes,
        hostname=wish.hostname,
        size=row.size,
        password=wish.password,
        ssh_public_keys=tuple(map(ssh_keys.tidy, wish.ssh_public_keys)),
        wake_on=tuple(dict.fromkeys(wish.wake_on or ())),
        env=wish.env or {},
        user_data=wish.user_data,
        user_data_skips_network=wish.user_data is not None and wish.user_data_network is False,
        fork_of=row.lease_id,
        snapshot=wish.snapshot,
        others=wish.count - 1,
    )


def offer(found: Offer) -> schemas.ForkOffer:
    """Whether a container can be copied now."""
    return schemas.ForkOffer(
        possible=found.way is not None,
        needs_stop=found.needs_stop,
        problem=None if found.refusal is None else found.refusal.code,
        at_most=found.at_most,
        minute_usd=None if found.minute_usd is None else prices.usd(found.minute_usd),
    )


def answer(bought: outcome.Answer, forked_from: str, ssh_way: way.Way | None) -> schemas.ForkAnswer:
    """Describe the copies that a payment bought."""
    first, *others = [
        leases.lease_answer(one, _message(one), ssh_way) for one in (bought, *bought.others)
    ]
    return schemas.ForkAnswer(**dict(first), forked_from=forked_from, others=others)


def _message(one: outcome.Answer) -> str:
    if one.order.is_open:
        return "This is still in progress; ask again with the same payment."
    if one.order.status is order.OrderStatus.OWED:
        return "This copy did not come up; its share is owed to the wallet that paid: GET /owed."
    return f"The copy is ready{leases.until(one.lease.expires_at)}."
