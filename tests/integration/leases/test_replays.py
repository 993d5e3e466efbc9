"""One payment, one use: the same payment again, at once and later, with and without a key."""

import asyncio
import dataclasses

import pytest
from tests.support.installation import Installation, creation

from pve402.domain import errors, lease
from pve402_devnet.pve.faults import FaultKind

KEY = "an-idempotency-key-of-a-client"


async def test_one_payment_sent_five_times_at_once_makes_one_container(
    installation: Installation,
) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish)

    answers = await asyncio.gather(*(installation.leases.create(wish, purchase) for _ in range(5)))

    assert len({answer.lease.lease_id for answer in answers}) == 1
    assert len(installation.marked_guests) == 1
    assert sum(answer.access_token is not None for answer in answers) == 1
    assert installation.earned == installation.price_of(wish)


async def test_a_replay_gets_the_facts_and_the_receipt_but_no_secret(
    installation: Installation,
) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish)
    first = await installation.leases.create(wish, purchase)

    again = await installation.leases.create(wish, purchase)

    assert again.lease == first.lease
    assert again.order == first.order
    assert again.access_token is None


async def test_the_same_payment_with_another_request_is_refused(
    installation: Installation,
) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish)
    await installation.leases.create(wish, purchase)

    with pytest.raises(errors.PaymentReused):
        await installation.leases.create(creation(hostname="another"), purchase)

    assert len(installation.marked_guests) == 1


async def test_the_same_payment_with_another_password_is_refused(
    installation: Installation,
) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish)
    await installation.leases.create(wish, purchase)

    with pytest.raises(errors.PaymentReused):
        await installation.leases.create(creation(password="another one"), purchase)


async def test_a_new_payment_with_the_same_key_joins_and_is_never_settled(
    installation: Installation,
) -> None:
    tenant, wish = installation.tenant(), creation()
    first = await installation.leases.create(
        wish, installation.buy(tenant, wish, idempotency_key=KEY)
    )

    again = await installation.leases.create(
        wish, installation.buy(tenant, wish, idempotency_key=KEY)
    )

    assert again.lease.lease_id == first.lease.lease_id
    assert again.access_token == first.access_token
    assert installation.earned == installation.price_of(wish)


async def test_a_new_payment_with_the_same_name_joins_but_a_name_is_no_secret(
    installation: Installation,
) -> None:
    tenant, wish = installation.tenant(), creation()
    name = {"idempotency_key": KEY, "key_is_secret": False}
    first = await installation.leases.create(wish, installation.buy(tenant, wish, **name))

    again = await installation.leases.create(wish, installation.buy(tenant, wish, **name))

    assert again.lease == first.lease
    assert (first.access_token is None, again.access_token) == (False, None)
    assert installation.earned == installation.price_of(wish)


async def test_two_payments_with_one_key_at_once_make_one_container(
    installation: Installation,
) -> None:
    tenant, wish = installation.tenant(), creation()

    answers = await asyncio.gather(
        *(
            installation.leases.create(wish, installation.buy(tenant, wish, idempotency_key=KEY))
            for _ in range(4)
        )
    )

    assert len({answer.lease.lease_id for answer in answers}) == 1
    assert installation.earned == installation.price_of(wish)


async def test_the_key_with_another_request_is_refused(installation: Installation) -> None:
    tenant, wish, other = installation.tenant(), creation(), creation(minutes=61)
    await installation.leases.create(wish, installation.buy(tenant, wish, idempotency_key=KEY))

    with pytest.raises(errors.IdempotencyKeyReused):
        await installation.leases.create(
            other, installation.buy(tenant, other, idempotency_key=KEY)
        )


async def test_the_key_of_another_wallet_is_another_key(installation: Installation) -> None:
    wish = creation()
    for _ in range(2):
        purchase = installation.buy(installation.tenant(), wish, idempotency_key=KEY)
        await installation.leases.create(wish, purchase)

    assert len(installation.marked_guests) == 2


async def test_respond_async_answers_before_the_container_is_there(
    installation: Installation,
) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish, wait_seconds=0.0)

    early = await installation.leases.create(wish, purchase)
    await installation.until_status(lease.LeaseStatus.ACTIVE)

    assert early.lease.tenant_status == "provisioning"
    assert early.access_token is None


async def test_an_impatient_sender_is_told_to_come_back_and_the_creation_goes_on(
    installation: Installation,
) -> None:
    wish = creation()
    tenant = installation.tenant()
    purchase = installation.buy(tenant, wish, wait_seconds=0.1)

    async with installation.holding(r"POST .*/status/start$"):
        with pytest.raises(errors.OrderPending):
            await installation.leases.create(wish, purchase)
    row = await installation.until_status(lease.LeaseStatus.ACTIVE)

    assert installation.runs(row.vmid)


async def test_a_wallet_can_have_so_many_unsettled_creations_and_no_more(
    installation: Installation,
) -> None:
    tenant, wish = installation.tenant(), creation()
    installation.fail_call(r"POST /nodes/pve/lxc$", FaultKind.SLOW, seconds=60.0, times=50)
    for _ in range(8):
        await installation.leases.create(wish, installation.buy(tenant, wish, wait_seconds=0.0))

    with pytest.raises(errors.TooManyUnsettled):
        await installation.leases.create(wish, installation.buy(tenant, wish, wait_seconds=0.0))
    await installation.die()  # a stop would wait for the slow calls


async def test_a_wallet_whose_settlement_failed_waits(installation: Installation) -> None:
    tenant, wish = installation.tenant(), creation()
    purchase = installation.buy(tenant, wish, wait_seconds=10)
    async with installation.holding(r"POST .*/status/start$"):
        attempt = asyncio.create_task(installation.leases.create(wish, purchase))
        await installation.until_status(lease.LeaseStatus.STARTING)
        await installation.spend_elsewhere(purchase)
    with pytest.raises(errors.PaymentRefused):
        await attempt

    with pytest.raises(errors.WalletMustWait) as told:
        await installation.leases.create(wish, installation.buy(tenant, wish))

    assert told.value.retry_after_seconds is not None


async def test_a_payment_that_would_stay_open_for_hours_is_refused(
    installation: Installation,
) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish, valid_seconds=100_000)

    with pytest.raises(errors.PaymentRefused):
        await installation.leases.create(wish, purchase)

    assert await installation.orders_now() == []


async def test_nothing_is_claimed_when_the_facilitator_is_away(
    installation: Installation,
) -> None:
    await installation.facilitator.stop()

    with pytest.raises(errors.FacilitatorUnavailable):
        await installation.lease()

    assert await installation.orders_now() == []
    assert installation.marked_guests == set()


async def test_a_management_fee_is_paid_once(installation: Installation) -> None:
    purchase = installation.purchase(installation.tenant(), 1000)
    paid = await installation.leases.pay_fee(purchase, "GET /management/list", {})

    with pytest.raises(errors.PaymentReused):
        await installation.leases.pay_fee(purchase, "GET /management/list", {})

    assert paid.transaction is not None
    assert installation.earned == 1000


async def test_a_renewal_payment_sent_again_adds_its_minutes_once(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease
    purchase = installation.renewal(tenant, first, 30)
    renewed = await installation.leases.renew(first, 30, purchase)
    earned = installation.earned

    again = await installation.leases.renew(first, 30, purchase)

    assert again.order == renewed.order
    assert again.lease.expires_at == renewed.lease.expires_at
    assert installation.earned == earned


async def test_a_new_payment_for_a_renewal_with_the_same_key_joins_and_is_never_settled(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease
    keyed = {"idempotency_key": KEY}
    paid = await installation.leases.renew(
        first, 30, installation.renewal(tenant, first, 30, **keyed)
    )
    earned = installation.earned

    again = await installation.leases.renew(
        first, 30, installation.renewal(tenant, first, 30, **keyed)
    )

    assert again.order.order_id == paid.order.order_id
    assert again.access_token is None
    assert installation.earned == earned


async def test_the_payment_of_a_creation_renews_nothing(installation: Installation) -> None:
    tenant, wish = installation.tenant(), creation()
    purchase = installation.buy(tenant, wish)
    made = (await installation.leases.create(wish, purchase)).lease

    with pytest.raises(errors.PaymentReused):
        await installation.leases.renew(made, 60, purchase)

    (row,) = await installation.leases_now()
    assert row.expires_at == made.expires_at


async def test_the_payment_of_a_creation_is_no_management_fee(installation: Installation) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish)
    await installation.leases.create(wish, purchase)

    with pytest.raises(errors.PaymentReused):
        await installation.leases.pay_fee(purchase, "GET /management/list", {})


@pytest.mark.parametrize(
    "signature",
    [
        "0x" + "11" * 65,
        "0x" + "11" * 32 + "22" * 32 + "1b",
        "0x" + "ff" * 64,
        "0x01",
        "0x" + "00" * 96 + "6492" * 16,
        "0x" + "ab" * 600,
    ],
)
@pytest.mark.parametrize("is_same_nonce", [True, False])
async def test_a_key_opens_nothing_for_who_did_not_sign(
    installation: Installation, signature: str, is_same_nonce: bool
) -> None:
    tenant, wish = installation.tenant(), creation()
    own = installation.buy(tenant, wish, idempotency_key=KEY)
    bought = await installation.leases.create(wish, own)
    copied = own if is_same_nonce else installation.buy(tenant, wish, idempotency_key=KEY)
    forged = dataclasses.replace(copied.payment, signature=signature)

    stolen = await installation.leases.create(
        wish, dataclasses.replace(copied, payment=forged, by_key=False)
    )

    assert stolen.order.order_id == bought.order.order_id
    assert stolen.access_token is None
