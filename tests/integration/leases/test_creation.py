"""Creation, from a signed payment to a container that was handed over or was never there."""

import asyncio
import contextlib
import copy
import dataclasses

import pytest
from tests.support import debts
from tests.support.installation import Installation, creation, owner_of

from pve402.domain import errors, lease, order
from pve402.payments import extensions, protocol
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind
from pve402_devnet.pve import cluster, faults

CREATE = r"POST /nodes/pve/lxc$"
START = r"POST .*/status/start$"


async def test_a_paid_container_runs_and_is_handed_over(installation: Installation) -> None:
    tenant = installation.tenant()

    answer = await installation.lease(tenant, minutes=60)

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert answer.order.status is order.OrderStatus.SETTLED
    assert answer.lease.owner == owner_of(tenant)
    assert answer.access_token is not None
    assert installation.runs(answer.lease.vmid)
    assert installation.earned == installation.price_of(creation())


async def test_time_runs_from_activation_for_exactly_the_minutes_paid(
    installation: Installation,
) -> None:
    answer = await installation.lease(minutes=60)

    settled_at = answer.order.settled_at
    assert settled_at is not None
    assert answer.lease.expires_at is not None
    assert abs((answer.lease.expires_at - settled_at).total_seconds() - 3600) < 0.05


async def test_the_guest_is_made_as_the_lease_says(installation: Installation) -> None:
    answer = await installation.lease(
        hostname="web-1", size=lease.Size(cores=2, memory_mb=256, disk_gb=3)
    )

    config = installation.proxmox.world.guests[answer.lease.vmid].config
    assert config.text("hostname") == "web-1"
    assert config.integer("cores", 0) == 2
    assert config.integer("memory", 0) == 256
    assert config.integer("unprivileged", 0) == 1
    assert config.text("cmode") == "shell"
    assert "bridge=vmbr0" in config.text("net0")
    assert f"lease-{answer.lease.lease_id}" in config.text("tags")
    assert installation.parts.machines.read_description(config.text("description")) is not None


@pytest.mark.parametrize(
    ("pattern", "refusal"),
    [(CREATE, "create_failed"), (START, "start_failed")],
)
async def test_a_failure_before_settlement_charges_nothing_and_leaves_nothing(
    installation: Installation, pattern: str, refusal: str
) -> None:
    installation.fail_call(pattern)

    with pytest.raises(errors.ProvisioningFailed):
        await installation.lease()
    installation.pass_time(120)
    await installation.settled_down()
    await debts.pass_the_window(installation, (await installation.orders_now())[0])

    (row,), (paid,) = await installation.leases_now(), await installation.orders_now()
    assert row.status is lease.LeaseStatus.FAILED
    assert paid.refusal == refusal
    assert paid.sealed_payment is None
    assert installation.earned == 0
    assert installation.marked_guests == set()


async def test_a_creation_task_that_fails_after_its_200_charges_nothing(
    installation: Installation,
) -> None:
    wish = creation()
    sku = installation.leases.catalogue.sku(wish.sku)
    bad = "local:vztmpl/corrupt_1_amd64.tar.gz"
    object.__setattr__(sku, "templates", {"corrupt": bad})

    with pytest.raises(errors.ProvisioningFailed):
        await installation.lease(template="corrupt")
    await installation.settled_down()

    assert installation.earned == 0
    assert installation.marked_guests == set()


async def test_a_template_that_warns_is_a_success(installation: Installation) -> None:
    sku = installation.leases.catalogue.sku("standard-lxc")
    object.__setattr__(sku, "templates", {"warns": "local:vztmpl/fakedeb_1_amd64.tar.gz"})

    answer = await installation.lease(template="warns")

    assert answer.lease.status is lease.LeaseStatus.ACTIVE


async def test_a_settlement_that_is_refused_destroys_the_guest(installation: Installation) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish)

    async with installation.holding(START):
        attempt = asyncio.create_task(installation.leases.create(wish, purchase))
        await installation.until_status(lease.LeaseStatus.STARTING)
        await installation.spend_elsewhere(purchase)
    with pytest.raises(errors.PaymentRefused):
        await attempt
    await installation.settled_down()

    (row,) = await installation.leases_now()
    assert row.status is lease.LeaseStatus.FAILED
    assert installation.earned == 0
    assert installation.marked_guests == set()


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.ERROR_AFTER_TRANSFER,
        FaultKind.MALFORMED,
        FaultKind.LYING_NO,
        FaultKind.WRONG_PAYER,
        FaultKind.WRONG_NETWORK,
        FaultKind.PENDING,
    ],
)
async def test_a_transfer_that_landed_counts_whatever_the_facilitator_said(
    installation: Installation, kind: FaultKind
) -> None:
    installation.facilitator.faults.add(Fault(kind=kind, endpoint=Endpoint.SETTLE, times=1))

    answer = await installation.lease()

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert answer.order.transaction is not None
    assert installation.earned == installation.price_of(creation())


async def test_a_yes_without_a_transfer_hands_nothing_over(installation: Installation) -> None:
    installation.facilitator.faults.add(
        Fault(kind=FaultKind.LYING_YES, endpoint=Endpoint.SETTLE, times=None)
    )
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish, wait_seconds=0.5)

    with contextlib.suppress(errors.OrderPending, errors.SettlementPending):
        await installation.leases.create(wish, purchase)
    await installation.until_status(lease.LeaseStatus.SETTLING)
    with pytest.raises(errors.SettlementPending):
        await installation.leases.create(wish, purchase)

    (row,) = await installation.leases_now()
    assert row.status is lease.LeaseStatus.SETTLING
    assert row.expires_at is None
    with pytest.raises(errors.LeaseNotFound):
        await installation.leases.find(row.ctid)
    await installation.die()  # a stop would wait for a settlement that never comes


async def test_locks_are_waited_out(installation: Installation) -> None:
    installation.fail_call(START, faults.FaultKind.LOCKED, text="backup", times=2)

    answer = await installation.lease()

    assert answer.lease.status is lease.LeaseStatus.ACTIVE


@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("kind", [faults.FaultKind.GATEWAY_TIMEOUT, faults.FaultKind.DROP])
@pytest.mark.parametrize("pattern", [CREATE, START])
async def test_an_unknown_outcome_is_looked_at_before_it_is_asked_for_again(
    installation: Installation, pattern: str, kind: faults.FaultKind, executed: bool
) -> None:
    installation.fail_call(pattern, kind, executed=executed)

    answer = await installation.lease()

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert installation.marked_guests == {answer.lease.vmid}
    assert installation.runs(answer.lease.vmid)


async def test_a_vmid_taken_by_a_foreign_guest_is_left_alone(installation: Installation) -> None:
    first = await installation.lease()
    installation.proxmox.world.guests[first.lease.vmid + 1] = foreign(installation)

    second = await installation.lease()

    assert second.lease.vmid == first.lease.vmid + 2
    assert first.lease.vmid + 1 in installation.proxmox.world.guests


async def test_the_payment_and_the_password_are_erased_when_they_are_done_with(
    installation: Installation,
) -> None:
    await installation.lease()
    (open_still,) = await installation.orders_now()
    installation.chain.rpc("evm_mine")
    for _ in range(12):
        installation.chain.rpc("evm_mine")
    installation.pass_time(60)
    await installation.settled_down()

    (done,) = await installation.orders_now()
    assert open_still.sealed_secrets is None
    assert done.final
    assert done.sealed_payment is None


async def test_a_creation_makes_no_call_that_need_not_be(installation: Installation) -> None:
    asked = installation.record_proxmox_calls(early_shells=True)

    await installation.lease()

    shell = ["GET /nodes/pve/lxc/10000/status/current", "POST /nodes/pve/lxc/10000/termproxy"]
    assert [call for call in asked if "/tasks/" not in call and call not in shell] == [
        "GET /cluster/nextid",
        "POST /nodes/pve/lxc",
        "POST /nodes/pve/lxc/10000/status/start",
    ]
    assert all(asked.count(call) <= 1 for call in shell)  # opened while the payment settles
    assert [call.endpoint for call in installation.facilitator.calls] == ["verify", "settle"]


async def test_a_facilitator_is_told_what_was_sold_when_it_verifies_and_when_it_settles(
    installation: Installation,
) -> None:
    wish = creation()
    purchase = installation.buy(installation.tenant(), wish)
    declared = extensions.Declared(forms=('{"bazaar":{"info":{}}}', "{}"))
    terms = dataclasses.replace(purchase.requirements, declared=declared)

    await installation.leases.create(wish, dataclasses.replace(purchase, requirements=terms))

    resource = protocol.v2_resource(terms) | extensions.SERVICE
    told = {"resource": resource, "extensions": {"bazaar": {"info": {}}}}
    assert [call.declared for call in installation.facilitator.calls] == [told, told]


def foreign(installation: Installation) -> cluster.Guest:
    """A guest of somebody else on the vmid after the highest."""
    vmid = max(installation.proxmox.world.guests)
    guest = copy.deepcopy(installation.proxmox.world.guests[vmid])
    guest.vmid = vmid + 1
    guest.config.options["tags"] = "somebody-else"
    return guest
