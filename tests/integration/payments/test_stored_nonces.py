"""Our own facilitator on the service's database: replicas that sign with one key."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import migrated
from tests.support import payments as make

from pve402.leases.nonces import StoredSignerNonces
from pve402.payments import protocol, rpc
from pve402.payments.facilitators import Outcome
from pve402.payments.facilitators.embedded import EmbeddedFacilitator, EmbeddedOptions
from pve402.storage.database import Database

TERMS = make.requirements()
KEY = make.account(4022)
Sign = Callable[..., protocol.Payment]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[list[StoredSignerNonces]]:
    """Two replicas' stores; a SQLite file has one process, so one store there."""
    if request.param == "sqlite":
        databases = [Database(migrated.lay_sqlite(f"sqlite+aiosqlite:///{tmp_path}/pve402.db"))]
    else:
        url = request.getfixturevalue("migrated_url")
        databases = [Database(url), Database(url)]
    for opened in databases:
        await opened.open()
    yield [StoredSignerNonces(databases[0]), StoredSignerNonces(databases[-1])]
    for opened in databases:
        await opened.close()


@pytest.fixture
async def replicas(
    chain: Any, endpoint: rpc.Rpc, stores: list[StoredSignerNonces]
) -> AsyncIterator[list[EmbeddedFacilitator]]:
    """Two facilitators on one key."""
    chain.fund(KEY.address, eth=10)
    options = EmbeddedOptions(network="base-sepolia", private_key=KEY.key.hex())
    made = [
        EmbeddedFacilitator(options, endpoint, store, record_transaction=_forget)
        for store in stores
    ]
    yield made
    for facilitator in made:
        await facilitator.close()


async def _forget(_payment: protocol.PaymentKey, _transaction: str) -> None:
    return None


async def test_replicas_on_one_key_leave_no_gap(
    chain: Any, paid: Sign, replicas: list[EmbeddedFacilitator]
) -> None:
    payments = [paid() for _ in range(12)]

    settled = await asyncio.gather(
        *(replicas[i % 2].settle(payment, TERMS) for i, payment in enumerate(payments))
    )

    assert {one.outcome for one in settled} == {Outcome.SETTLED}
    assert chain.usdc_balance(make.OUR_ADDRESS) == 12 * TERMS.amount_atomic
    assert chain.rpc("eth_getTransactionCount", KEY.address, "latest") == "0xc"


async def test_a_replica_follows_what_another_signed(
    chain: Any, paid: Sign, replicas: list[EmbeddedFacilitator], stores: list[StoredSignerNonces]
) -> None:
    payment = paid(valid_before=int(time.time()) + 300)

    first = await replicas[0].settle(payment, TERMS)
    second = await replicas[1].settle(payment, TERMS)
    left = await stores[1].open_for(payment.key)

    assert (first.outcome, second.transaction) == (Outcome.SETTLED, first.transaction)
    assert left is not None
    assert left.transaction == first.transaction
    assert chain.rpc("eth_getTransactionCount", KEY.address, "latest") == "0x1"
