"""Money at our address that no order explains is found and told."""

import pytest
import structlog
from tests.support import payments
from tests.support.installation import NETWORK, PAY_TO, Installation

from pve402.leases import foreign_transfers
from pve402.ops.checks import payments as checks
from pve402.ops.checks.findings import Verdict


async def _found(made: Installation) -> int:
    chain = made.parts.settler.chain_of(NETWORK)
    return len(await foreign_transfers.find(made.parts.db, chain, NETWORK, PAY_TO))


async def _pay_from_elsewhere(made: Installation) -> None:
    """Another installation, with the same PAY_TO, is paid."""
    purchase = made.purchase(made.tenant(), 1000)
    facilitator = made.parts.settler.facilitator_of(NETWORK)
    done = await facilitator.settle(purchase.payment, purchase.requirements)
    assert done.outcome.value == "settled"


@pytest.mark.parametrize(("own", "foreign"), [(0, 0), (1, 0), (0, 1), (2, 1), (1, 3)])
async def test_only_transfers_without_an_order_are_foreign(
    installation: Installation, own: int, foreign: int
) -> None:
    for _ in range(own):
        await installation.leases.pay_fee(
            installation.purchase(installation.tenant(), 1000), "GET /x", {}
        )
    for _ in range(foreign):
        await _pay_from_elsewhere(installation)

    found = await _found(installation)
    (finding,) = await checks.transfers(installation.parts)

    assert found == foreign
    assert finding.verdict is (Verdict.NOTE if foreign else Verdict.OK)


async def test_the_start_warns_of_them(installation: Installation) -> None:
    await _pay_from_elsewhere(installation)

    with structlog.testing.capture_logs() as said:
        await installation.parts._look_for_foreign_transfers()

    (warning,) = [line for line in said if line["event"] == "foreign_transfers"]
    assert (warning["count"], warning["network"]) == (1, NETWORK)
    assert payments.OUR_ADDRESS not in str(warning)
