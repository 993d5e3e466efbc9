"""Our own facilitator against a real EVM: order, gaps, crashes, several processes on one key."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support import payments as make
from tests.support.anvil import Anvil
from tests.support.chain import new_account
from tests.support.signer_nonces import InMemorySignerNonces

from pve402.payments import chain as chains
from pve402.payments import errors, protocol, rpc, settlement
from pve402.payments.facilitators import Outcome
from pve402.payments.facilitators.broadcaster import FeeOptions
from pve402.payments.facilitators.embedded import Clock, EmbeddedFacilitator, EmbeddedOptions

SETTLED, REFUSED, UNKNOWN = Outcome.SETTLED, Outcome.REFUSED, Outcome.UNKNOWN
TERMS = make.requirements()
KEY = make.account(4021)
Sign = Callable[..., protocol.Payment]


class Wire(rpc.Rpc):
    """A line to the node that a test can disturb and look at."""

    def __init__(self, url: str) -> None:
        super().__init__(rpc.RpcOptions(url=url, read_attempts=1))
        self.events: list[str] = []
        self.refuse: list[str] = []  # answers to coming broadcasts that never reach the node
        self.cut = False  # broadcasts are lost
        self.deaf = False  # broadcasts arrive, their answers are lost
        self.stale_count: str | None = None  # a transaction count from long ago
        self.sent: list[str] = []

    async def call(self, method: str, *params: Any) -> Any:
        if method == "eth_getTransactionCount" and self.stale_count:
            return self.stale_count
        if method != "eth_sendRawTransaction":
            return await super().call(method, *params)
        self.events.append("broadcast")
        self.sent.append(params[0])
        if self.refuse:
            raise rpc.RpcError(method, -32000, self.refuse.pop(0))
        if self.cut:
            raise errors.ChainUnavailable(method, "cut")
        answer = await super().call(method, *params)
        if self.deaf:
            raise errors.ChainUnavailable(method, "deaf")
        return answer


class Signer:
    """An embedded facilitator with everything around it."""

    def __init__(
        self,
        url: str,
        *,
        nonces: InMemorySignerNonces | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        self.wire = Wire(url)
        self.nonces = nonces or InMemorySignerNonces()
        self.recorded: list[str] = []
        self.between_record_and_broadcast: Callable[[], Awaitable[Any]] | None = None
        self.facilitator = EmbeddedFacilitator(
            EmbeddedOptions(network="base-sepolia", private_key=KEY.key.hex(), **options),
            self.wire,
            self.nonces,
            record_transaction=self._record,
            clock=clock,
        )

    async def _record(self, _payment: protocol.PaymentKey, transaction: str) -> None:
        self.wire.events.append("record")
        self.recorded.append(transaction)
        if self.between_record_and_broadcast:
            await self.between_record_and_broadcast()

    async def settle(self, payment: protocol.Payment) -> Any:
        return await self.facilitator.settle(payment, TERMS)

    async def open_transactions(self) -> int:
        return len(await self.nonces.unconfirmed(84532, self.facilitator.address))


@pytest.fixture
async def signers(chain: Any) -> Any:
    """Makes signers of one funded key; closes them."""
    chain.fund(KEY.address, eth=10)
    made: list[Signer] = []

    def make_signer(**options: Any) -> Signer:
        made.append(Signer(chain.url, **options))
        return made[-1]

    yield make_signer
    for signer in made:
        await signer.facilitator.close()
        await signer.wire.close()


def _earned(chain: Any) -> int:
    earned: int = chain.usdc_balance(make.OUR_ADDRESS)
    return earned // TERMS.amount_atomic


def _sent(chain: Any) -> int:
    return int(chain.rpc("eth_getTransactionCount", KEY.address, "latest"), 16)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_payment_is_verified_and_settled(
    signers: Any, chain: Any, paid: Sign, version: int
) -> None:
    signer, payment = signers(), paid(version=version)

    verified = await signer.facilitator.verify(payment, TERMS)
    settled = await signer.settle(payment)

    assert (verified.valid, settled.outcome) == (True, SETTLED)
    assert (_earned(chain), signer.recorded) == (1, [settled.transaction])


async def test_the_hash_is_stored_before_the_broadcast(signers: Any, paid: Sign) -> None:
    signer = signers()

    await signer.settle(paid())

    assert signer.wire.events == ["record", "broadcast"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": new_account()}, "insufficient_funds"),
        ({"valid_after": 2**40, "valid_before": 2**41}, "authorization_not_yet_valid"),
        ({"valid_before": 1}, "authorization_expired"),
        ({"signature": "0x" + "11" * 64 + "1b"}, "invalid_signature"),
    ],
)
async def test_what_cannot_settle_is_refused_and_nothing_is_sent(
    signers: Any, chain: Any, paid: Sign, change: dict[str, Any], reason: str
) -> None:
    signer, payment = signers(), paid(**change)

    verified = await signer.facilitator.verify(payment, TERMS)
    settled = await signer.settle(payment)

    assert (verified.valid, verified.reason) == (False, reason)
    assert (settled.outcome, settled.reason) == (REFUSED, reason)
    assert (_sent(chain), signer.wire.events) == (0, [])


async def test_a_second_settle_moves_nothing_and_finds_the_first(
    signers: Any, chain: Any, paid: Sign
) -> None:
    signer, payment = signers(), paid()
    first = await signer.settle(payment)

    second = await signer.settle(payment)

    assert (second.outcome, second.transaction) == (SETTLED, first.transaction)
    assert (_earned(chain), _sent(chain)) == (1, 1)


async def test_a_claimed_transaction_is_forgotten_when_it_is_final(
    signers: Any, chain: Any, paid: Sign
) -> None:
    signer = signers()
    await signer.settle(paid())
    opened = [await signer.open_transactions()]
    for _block in range(12):
        chain.rpc("evm_mine")

    await signer.facilitator.sweep()

    assert [*opened, await signer.open_transactions()] == [1, 0]


async def test_a_transfer_that_a_reorganisation_threw_out_is_sent_again(
    signers: Any, chain: Any, paid: Sign
) -> None:
    signer, lost = signers(), paid()
    before = await signer.settle(lost)
    chain.rpc("devnet_reorg", 1)
    earned = [_earned(chain)]

    swept = await signer.facilitator.sweep()
    after = await signer.settle(lost)
    later = await signer.settle(paid())

    assert (earned, swept) == ([0], 1)
    assert (after.outcome, after.transaction) == (SETTLED, before.transaction)
    assert (later.outcome, _earned(chain), _sent(chain)) == (SETTLED, 2, 2)


async def test_cancelling_a_settlement_leaves_no_gap(signers: Any, chain: Any, paid: Sign) -> None:
    signer = signers(settle_timeout_seconds=3)
    claimed = asyncio.Event()

    async def slowly() -> None:
        claimed.set()
        await asyncio.sleep(0.05)

    signer.between_record_and_broadcast = slowly
    left = asyncio.create_task(signer.settle(paid()))
    await claimed.wait()
    left.cancel()

    settled = await signer.settle(paid())

    assert (settled.outcome, _earned(chain), _sent(chain)) == (SETTLED, 2, 2)


async def test_a_claim_that_another_process_sweeps_up_meanwhile_is_not_repeated(
    signers: Any, chain: Any, paid: Sign
) -> None:
    store = InMemorySignerNonces()
    signer, sweeper = signers(nonces=store), signers(nonces=store)
    signer.between_record_and_broadcast = sweeper.facilitator.sweep

    settled = await signer.settle(paid())

    assert (settled.outcome, len(signer.recorded), _sent(chain)) == (SETTLED, 1, 1)


async def test_a_node_that_lags_does_not_give_a_used_nonce_twice(
    signers: Any, chain: Any, paid: Sign
) -> None:
    await signers().settle(paid())
    signer = signers()
    signer.wire.stale_count = "0x0"

    settled = await signer.settle(paid())

    assert (settled.outcome, _sent(chain)) == (SETTLED, 2)


async def test_a_payment_that_is_spent_is_refused_and_the_chain_knows_better(
    signers: Any, chain: Any, paid: Sign
) -> None:
    signer, payment = signers(), paid()
    await signers().settle(payment)
    route = settlement.Route(facilitator=signer.facilitator, chain=chains.Chain(signer.wire))
    settler = settlement.Settler({payment.network: route})

    again = await settler.settle(payment, TERMS, since_seconds=int(time.time()))

    assert (again.outcome, _earned(chain)) == (SETTLED, 1)


async def test_many_at_once_leave_no_gap(signers: Any, chain: Any, paid: Sign) -> None:
    signer = signers()

    settled = await asyncio.gather(*(signer.settle(paid()) for _ in range(20)))

    assert {one.outcome for one in settled} == {SETTLED}
    assert (_earned(chain), _sent(chain)) == (20, 20)
    assert signer.wire.events == ["record", "broadcast"] * 20


@pytest.mark.parametrize("shared", [True, False], ids=["one store", "a store each"])
async def test_two_processes_on_one_key_do_not_collide(
    signers: Any, chain: Any, paid: Sign, shared: bool
) -> None:
    store = InMemorySignerNonces() if shared else None
    one, two = signers(nonces=store), signers(nonces=store)

    settled = await asyncio.gather(
        *(signer.settle(paid()) for _ in range(8) for signer in (one, two))
    )

    assert {each.outcome for each in settled} == {SETTLED}
    assert (_earned(chain), _sent(chain)) == (16, 16)


@pytest.mark.parametrize(
    "answer", ["insufficient funds for gas", "transaction underpriced", "something new"]
)
async def test_a_failed_broadcast_does_not_lose_the_nonce(
    signers: Any, chain: Any, paid: Sign, answer: str
) -> None:
    signer = signers()
    signer.wire.refuse = [answer]

    failed = await signer.settle(paid())
    after = await signer.settle(paid())

    assert (failed.outcome, failed.reason) == (UNKNOWN, "not_broadcast")
    assert (after.outcome, _sent(chain)) == (SETTLED, 1)


async def test_a_nonce_that_somebody_else_used_is_passed_over(
    signers: Any, chain: Any, paid: Sign
) -> None:
    signer = signers()
    await signer.settle(paid())
    other = signers()
    await other.settle(paid())

    settled = await signer.settle(paid())

    assert (settled.outcome, _sent(chain)) == (SETTLED, 3)


async def test_a_lost_answer_is_found_on_the_chain(signers: Any, chain: Any, paid: Sign) -> None:
    signer = signers()
    signer.wire.deaf = True

    settled = await signer.settle(paid())

    assert (settled.outcome, _earned(chain)) == (SETTLED, 1)


async def test_what_a_dead_process_claimed_is_broadcast_by_the_next(
    signers: Any, chain: Any, paid: Sign
) -> None:
    store, payment = InMemorySignerNonces(), paid()
    dead = signers(nonces=store, settle_timeout_seconds=0)
    dead.wire.cut = True
    left = await dead.settle(payment)
    alive = signers(nonces=store)

    swept = await alive.facilitator.sweep()
    settled = await alive.settle(payment)

    assert (left.outcome, left.transaction) == (UNKNOWN, dead.recorded[0])
    assert (swept, settled.outcome, settled.transaction) == (1, SETTLED, left.transaction)
    assert (_earned(chain), await alive.facilitator.sweep()) == (1, 0)


async def test_a_repeated_settle_follows_what_was_signed_before(
    signers: Any, chain: Any, paid: Sign
) -> None:
    store, payment = InMemorySignerNonces(), paid()
    first = signers(nonces=store, settle_timeout_seconds=0)
    first.wire.cut = True
    await first.settle(payment)
    second = signers(nonces=store)

    settled = await second.settle(payment)

    assert (settled.outcome, settled.transaction) == (SETTLED, first.recorded[0])
    assert (second.recorded, _sent(chain)) == ([], 1)


async def test_a_dropped_transaction_is_sent_again(signers: Any, chain: Any, paid: Sign) -> None:
    signer, payment = signers(settle_timeout_seconds=0), paid()
    chain.rpc("evm_setAutomine", False)
    waiting = await signer.settle(payment)
    chain.rpc("anvil_dropTransaction", waiting.transaction)
    chain.rpc("evm_mine")
    chain.rpc("evm_setAutomine", True)

    settled = await signer.settle(payment)

    assert (waiting.outcome, settled.outcome) == (UNKNOWN, SETTLED)
    assert settled.transaction == waiting.transaction


class Hurry:
    """A clock that a test moves on by sleeping; mines a block when told to."""

    def __init__(self, mine: Callable[[], Any], *, after_sleeps: int) -> None:
        self.seconds = 0.0
        self.sleeps = 0
        self._mine = mine
        self._after_sleeps = after_sleeps

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.sleeps += 1
        if self.sleeps == self._after_sleeps:
            self._mine()

    def clock(self) -> Clock:
        return Clock(monotonic_seconds=self.monotonic, sleep=self.sleep)


async def test_a_stuck_transaction_is_outbid(signers: Any, chain: Any, paid: Sign) -> None:
    hurry = Hurry(lambda: chain.rpc("evm_mine"), after_sleeps=60)
    signer = signers(clock=hurry.clock(), settle_timeout_seconds=600)
    chain.rpc("evm_setAutomine", False)

    settled = await signer.settle(paid())

    assert settled.outcome is SETTLED
    assert len(signer.recorded) > 1
    assert settled.transaction == signer.recorded[-1]
    assert _sent(chain) == 1


async def test_an_outbid_transaction_can_still_be_the_one_that_lands(
    signers: Any, chain: Any, paid: Sign
) -> None:
    def mine_the_first() -> None:
        chain.rpc("anvil_dropTransaction", signer.recorded[-1])
        chain.rpc("eth_sendRawTransaction", signer.wire.sent[0])
        chain.rpc("evm_mine")

    hurry = Hurry(mine_the_first, after_sleeps=60)
    signer = signers(clock=hurry.clock(), settle_timeout_seconds=600)
    chain.rpc("evm_setAutomine", False)

    settled = await signer.settle(paid())

    assert len(signer.recorded) > 1
    assert (settled.outcome, settled.transaction) == (SETTLED, signer.recorded[0])


async def test_one_that_never_gets_in_ends_unknown_and_stays_claimed(
    signers: Any, chain: Any, paid: Sign
) -> None:
    hurry = Hurry(lambda: None, after_sleeps=0)
    signer = signers(clock=hurry.clock(), settle_timeout_seconds=30)
    chain.rpc("evm_setAutomine", False)

    ended = await signer.settle(paid())

    assert (ended.outcome, ended.reason) == (UNKNOWN, "not_in_block")
    assert await signer.open_transactions() == 1


async def test_fees_above_the_cap_are_waited_out(signers: Any, chain: Any, paid: Sign) -> None:
    signer = signers(fees=FeeOptions(max_fee_per_gas_wei=1))

    ended = await signer.settle(paid())

    assert (ended.outcome, ended.reason, _sent(chain)) == (UNKNOWN, "not_broadcast", 0)


async def test_a_node_that_is_down_makes_it_unavailable(signers: Any, paid: Sign) -> None:
    signer, payment = Signer("http://127.0.0.1:9"), paid()

    with pytest.raises(errors.FacilitatorUnavailable):
        await signer.facilitator.verify(payment, TERMS)
    assert (await signer.settle(payment)).outcome is UNKNOWN
    await signer.facilitator.close()
    await signer.wire.close()


async def test_on_anvil_it_settles_and_outbids_too(anvil: Anvil) -> None:
    anvil.fund(KEY.address, eth=10)
    tenant = make.account(99)
    anvil.fund(tenant.address, usdc_atomic=10 * TERMS.amount_atomic)
    window = {"key": tenant, "valid_before": int(time.time()) + 3000}
    quick = Signer(anvil.url)
    settled = await asyncio.gather(*(quick.settle(make.payment(**window)) for _ in range(5)))
    anvil.rpc("evm_setAutomine", False)
    hurry = Hurry(lambda: anvil.rpc("evm_mine"), after_sleeps=60)
    stuck = Signer(anvil.url, nonces=quick.nonces, clock=hurry.clock(), settle_timeout_seconds=600)

    outbid = await stuck.settle(make.payment(**window))

    for signer in (quick, stuck):
        await signer.facilitator.close()
        await signer.wire.close()
    assert {one.outcome for one in [*settled, outbid]} == {SETTLED}
    assert outbid.transaction == stuck.recorded[-1] != stuck.recorded[0]
    assert anvil.usdc_balance(make.OUR_ADDRESS) == 6 * TERMS.amount_atomic


def test_the_key_is_in_no_repr() -> None:
    options = EmbeddedOptions(network="base", private_key=KEY.key.hex())

    assert KEY.key.hex() not in repr(options)
