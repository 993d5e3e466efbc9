"""Money at our address that no order explains is found and reported."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from tests.support import payments
from tests.support.installation import NETWORK, PAY_TO, Installation, World, running

from pve402.bootstrap import remarks
from pve402.leases import foreign_transfers
from pve402.ops.checks import payments as checks
from pve402.ops.checks.findings import Verdict
from pve402.payments import chain as chains
from pve402.payments import errors, rpc
from pve402_devnet.chain.faults import NodeFault, NodeFaultKind


async def _found(made: Installation) -> int:
    return len(await _search(made).go_on(100))


def _search(made: Installation) -> foreign_transfers.Search:
    chain = made.parts.settler.chain_of(NETWORK)
    return foreign_transfers.Search(made.parts.db, chain, NETWORK, PAY_TO)


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
        parts = installation.parts
        await remarks.look_for_foreign_transfers(parts.settings, parts.db, parts.settler)

    (warning,) = [line for line in said if line["event"] == "foreign_transfers"]
    assert (warning["count"], warning["network"]) == (1, NETWORK)
    assert payments.OUR_ADDRESS not in str(warning)


class _CountedRpc(rpc.Rpc):
    """Counts the calls for events."""

    calls = 0

    async def read(self, method: str, *params: Any) -> Any:
        self.calls += method == "eth_getLogs"
        return await super().read(method, *params)


@contextlib.asynccontextmanager
async def _paid_long_ago(world: World, url: str) -> AsyncIterator[Installation]:
    """An installation; another one was paid four times, 40 blocks apart."""
    async with running(url, *world) as made:
        for _ in range(4):
            await _pay_from_elsewhere(made)
            made.chain.rpc("anvil_mine", hex(40))
        yield made


@pytest.mark.parametrize("blocks_a_call", [1, 3, 7, 10, 100])
@pytest.mark.parametrize("most_calls", [1, 20])
async def test_a_node_that_gives_few_blocks_is_asked_in_parts(
    world: World, tmp_path: Any, blocks_a_call: int, most_calls: int
) -> None:
    capped = NodeFault(kind=NodeFaultKind.LOGS_CAPPED, blocks=blocks_a_call)
    async with (
        _paid_long_ago(world, f"sqlite:///{tmp_path}/pve402.sqlite3") as made,
        _CountedRpc(rpc.RpcOptions(url=made.chain.url, retry_delay_seconds=0.001)) as endpoint,
    ):
        made.chain.faults.add(capped)
        search = foreign_transfers.Search(made.parts.db, chains.Chain(endpoint), NETWORK, PAY_TO)
        found: list[str] = []
        parts = 0
        while not search.is_done:
            before = endpoint.calls
            found += await search.go_on(most_calls)
            parts += 1
            assert endpoint.calls - before <= most_calls
        made.chain.faults.clear()
        asked, height = endpoint.calls, made.chain.chain.head.number

    assert len(found) == len(set(found)) == 4
    assert search.blocks == min(height, 2000) + 1
    assert parts >= asked / most_calls


@pytest.mark.parametrize("kind", [NodeFaultKind.DOWN, NodeFaultKind.RATE_LIMITED])
async def test_a_part_that_fails_is_read_again(
    world: World, tmp_path: Any, kind: NodeFaultKind
) -> None:
    async with _paid_long_ago(world, f"sqlite:///{tmp_path}/pve402.sqlite3") as made:
        made.chain.faults.add(NodeFault(kind=NodeFaultKind.LOGS_CAPPED, blocks=10))
        search, found, failures = _search(made), list[str](), 0
        while not search.is_done:
            found += await search.go_on(5)
            made.chain.faults.add(NodeFault(kind=kind, times=3))
            with contextlib.suppress(errors.ChainUnavailable):
                found += await search.go_on(5)
                failures -= 1
            failures += 1
        made.chain.faults.clear()

    assert failures > 0
    assert len(found) == 4
