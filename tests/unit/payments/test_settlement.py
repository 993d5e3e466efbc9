"""The table of what is concluded from a facilitator's word and the chain."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support import payments as make

from pve402.payments import chain as chains
from pve402.payments import errors, protocol, settlement
from pve402.payments.facilitators import Outcome, Settlement, Verification
from pve402.payments.settlement import Recheck

SETTLED, REFUSED, UNKNOWN = Outcome.SETTLED, Outcome.REFUSED, Outcome.UNKNOWN
TX, OTHER_TX = make.TRANSACTION, make.OTHER_TRANSACTION
PAID = make.payment()
NOT_YET_VALID = make.payment(valid_after=make.NOW + 4)
UNDEPLOYED = make.payment(signature="0x" + make.wrapped(bytes(65)).hex())
Landing = Callable[[make.FakeNode], None]


@dataclass
class ScriptedFacilitator:
    """Says what it is told to, and lets something land on the chain while it is asked."""

    says: Outcome
    transaction: str | None = None
    reason: str | None = None
    refusals_are_final: bool = False
    node: make.FakeNode = field(default_factory=make.FakeNode)
    landing: Landing | None = None
    verification: Verification = field(
        default_factory=lambda: Verification(valid=True, payer=PAID.payer)
    )
    settled: int = 0
    closed: bool = False

    async def verify(
        self, payment: protocol.Payment, requirements: protocol.Requirements
    ) -> Verification:
        return self.verification

    async def settle(
        self, payment: protocol.Payment, requirements: protocol.Requirements
    ) -> Settlement:
        self.settled += 1
        if self.landing:
            self.landing(self.node)
        return Settlement.of(payment, self.says, transaction=self.transaction, reason=self.reason)

    async def close(self) -> None:
        self.closed = True


def _settler(facilitator: ScriptedFacilitator, *, trusted: bool = False) -> settlement.Settler:
    async def no_wait(_seconds: float) -> None:
        return None

    route = settlement.Route(
        facilitator=facilitator,
        chain=chains.Chain(facilitator.node),
        trust_facilitator=trusted,
    )
    return settlement.Settler({PAID.network: route}, sleep=no_wait)


async def _settle(facilitator: ScriptedFacilitator, *, trusted: bool = False) -> Settlement:
    settler = _settler(facilitator, trusted=trusted)
    return await settler.settle(PAID, make.requirements(), since_seconds=make.NOW - 60)


def pays(node: make.FakeNode) -> None:
    node.mine(TX, make.used(PAID), make.transfer(PAID))


def pays_somebody_else(node: make.FakeNode) -> None:
    node.mine(TX, make.used(PAID), make.transfer(PAID, to=make.SOMEBODY))


def cancels(node: make.FakeNode) -> None:
    node.mine(TX, make.cancelled(PAID))


def spent_long_ago(node: make.FakeNode) -> None:
    node.mine(TX, make.used(PAID), make.transfer(PAID), block=1)


def unrelated(node: make.FakeNode) -> None:
    other = make.payment()
    node.mine(OTHER_TX, make.used(other), make.transfer(other))


def expires(node: make.FakeNode) -> None:
    node.newest_seconds = PAID.valid_before + 60


def expires_only_just(node: make.FakeNode) -> None:
    node.newest_seconds = PAID.valid_before


def would_revert(node: make.FakeNode) -> None:
    node.reverting = True


def goes_down(node: make.FakeNode) -> None:
    node.unavailable = True


def reverts_on_chain(node: make.FakeNode) -> None:
    node.mine(TX, status=0)


TABLE = [
    # facilitator says, its transaction, what happens on chain, conclusion, transaction, reason
    (SETTLED, TX, pays, SETTLED, TX, None),
    (SETTLED, None, pays, SETTLED, TX, None),
    (SETTLED, OTHER_TX, pays, SETTLED, TX, None),
    (REFUSED, None, pays, SETTLED, TX, None),
    (REFUSED, TX, pays, SETTLED, TX, None),
    (UNKNOWN, None, pays, SETTLED, TX, None),
    (UNKNOWN, TX, pays, SETTLED, TX, None),
    (SETTLED, TX, pays_somebody_else, REFUSED, None, "nonce_spent_elsewhere"),
    (UNKNOWN, None, pays_somebody_else, REFUSED, None, "nonce_spent_elsewhere"),
    (SETTLED, TX, cancels, REFUSED, None, "authorization_cancelled"),
    (REFUSED, None, cancels, REFUSED, None, "authorization_cancelled"),
    (UNKNOWN, None, spent_long_ago, REFUSED, None, "nonce_spent_before"),
    (SETTLED, TX, None, UNKNOWN, TX, "unspent"),
    (SETTLED, None, None, UNKNOWN, None, "unspent"),
    (SETTLED, OTHER_TX, unrelated, UNKNOWN, OTHER_TX, "unspent"),
    (SETTLED, TX, reverts_on_chain, REFUSED, TX, "transaction_reverted"),
    (REFUSED, TX, reverts_on_chain, REFUSED, TX, "transaction_reverted"),
    (UNKNOWN, TX, reverts_on_chain, REFUSED, TX, "transaction_reverted"),
    (REFUSED, OTHER_TX, reverts_on_chain, UNKNOWN, OTHER_TX, "unspent"),
    (REFUSED, OTHER_TX, None, UNKNOWN, OTHER_TX, "unspent"),
    (REFUSED, TX, unrelated, UNKNOWN, TX, "unspent"),
    (SETTLED, TX, expires, REFUSED, None, "authorization_expired"),
    (REFUSED, None, expires, REFUSED, None, "authorization_expired"),
    (UNKNOWN, TX, expires, REFUSED, None, "authorization_expired"),
    (UNKNOWN, None, expires_only_just, UNKNOWN, None, "unspent"),
    (REFUSED, None, would_revert, REFUSED, None, "insufficient_funds"),
    (REFUSED, None, None, REFUSED, None, "insufficient_funds"),
    (REFUSED, None, unrelated, REFUSED, None, "insufficient_funds"),
    (UNKNOWN, None, None, UNKNOWN, None, "unspent"),
    (UNKNOWN, TX, None, UNKNOWN, TX, "unspent"),
    (UNKNOWN, None, would_revert, UNKNOWN, None, "unspent"),
    (SETTLED, TX, goes_down, UNKNOWN, TX, "chain_unavailable"),
    (REFUSED, None, goes_down, UNKNOWN, None, "chain_unavailable"),
    (UNKNOWN, None, goes_down, UNKNOWN, None, "chain_unavailable"),
]


@pytest.mark.parametrize(("says", "claimed", "landing", "outcome", "transaction", "reason"), TABLE)
async def test_the_chain_decides(
    says: Outcome,
    claimed: str | None,
    landing: Landing | None,
    outcome: Outcome,
    transaction: str | None,
    reason: str | None,
) -> None:
    told = "insufficient_funds" if says is REFUSED else None
    facilitator = ScriptedFacilitator(says, claimed, reason=told, landing=landing)

    concluded = await _settle(facilitator)

    assert (concluded.outcome, concluded.transaction, concluded.reason) == (
        outcome,
        transaction,
        reason,
    )


@pytest.mark.parametrize(
    ("says", "claimed", "outcome"),
    [
        (SETTLED, TX, SETTLED),
        (UNKNOWN, None, UNKNOWN),
        (UNKNOWN, TX, UNKNOWN),
        (REFUSED, OTHER_TX, UNKNOWN),
        (REFUSED, None, REFUSED),
    ],
)
async def test_a_plain_no_is_asked_for_once_more(
    says: Outcome, claimed: str | None, outcome: Outcome
) -> None:
    facilitator = ScriptedFacilitator(REFUSED, reason="invalid_transaction_state")
    answers = iter([(REFUSED, None, None), (says, claimed, pays if says is SETTLED else None)])

    async def settle(payment: protocol.Payment, requirements: protocol.Requirements) -> Settlement:
        facilitator.says, facilitator.transaction, facilitator.landing = next(answers)
        return await ScriptedFacilitator.settle(facilitator, payment, requirements)

    facilitator.settle = settle  # type: ignore[method-assign]

    concluded = await _settle(facilitator)

    assert (concluded.outcome, facilitator.settled) == (outcome, 2)


ATTEMPTED = [{"attempted_before": True}, {"known_transaction": OTHER_TX}]


@pytest.mark.parametrize("attempt", ATTEMPTED)
async def test_a_no_after_an_earlier_attempt_leaves_the_chain_to_decide(attempt: Any) -> None:
    facilitator = ScriptedFacilitator(REFUSED, reason="insufficient_funds")
    settler = _settler(facilitator)

    while_valid = await settler.settle(PAID, make.requirements(), since_seconds=make.NOW, **attempt)
    expires(facilitator.node)
    after = await settler.settle(PAID, make.requirements(), since_seconds=make.NOW, **attempt)

    assert (while_valid.outcome, while_valid.reason) == (UNKNOWN, "unspent")
    assert (after.outcome, after.reason) == (REFUSED, "authorization_expired")


def moves_the_balance(node: make.FakeNode) -> None:
    node.balance_atomic = PAID.amount_atomic - 1


@pytest.mark.parametrize("attempt", ATTEMPTED)
@pytest.mark.parametrize(
    ("paid", "landing", "outcome"),
    [
        (PAID, would_revert, REFUSED),  # paused, blocked, a contract that turned
        (PAID, moves_the_balance, REFUSED),
        (PAID, None, UNKNOWN),
        (NOT_YET_VALID, would_revert, UNKNOWN),
        (NOT_YET_VALID, moves_the_balance, REFUSED),
        (UNDEPLOYED, would_revert, UNKNOWN),  # until somebody deploys it
        (UNDEPLOYED, moves_the_balance, REFUSED),
        (PAID, goes_down, UNKNOWN),
    ],
)
async def test_a_no_after_an_earlier_attempt_is_final_where_nothing_could_land(
    paid: protocol.Payment, landing: Landing | None, outcome: Outcome, attempt: Any
) -> None:
    facilitator = ScriptedFacilitator(REFUSED, reason="no", landing=landing)

    concluded = await _settler(facilitator).settle(
        paid, make.requirements(), since_seconds=make.NOW, **attempt
    )

    assert concluded.outcome is outcome


async def test_a_wallet_that_is_filled_again_pays_with_the_next_attempt() -> None:
    facilitator = ScriptedFacilitator(REFUSED, reason="insufficient_funds")
    settler = _settler(facilitator)
    attempt = {"attempted_before": True}

    before = await settler.settle(PAID, make.requirements(), since_seconds=make.NOW, **attempt)
    facilitator.says, facilitator.transaction, facilitator.landing = SETTLED, TX, pays
    after = await settler.settle(PAID, make.requirements(), since_seconds=make.NOW, **attempt)

    assert (before.outcome, after.outcome) == (UNKNOWN, SETTLED)


@pytest.mark.parametrize("own_signer", [False, True])
@pytest.mark.parametrize(
    "reason",
    ["duplicate_settlement", "nonce_already_used", "invalid_exact_evm_nonce_already_used"],
)
async def test_a_no_to_what_was_used_already_is_not_believed_before_the_chain_shows_it(
    reason: str, own_signer: bool
) -> None:
    facilitator = ScriptedFacilitator(REFUSED, reason=reason, refusals_are_final=own_signer)

    assert (await _settle(facilitator)).outcome is UNKNOWN
    pays(facilitator.node)
    assert (await _settle(facilitator)).outcome is SETTLED


async def test_a_second_no_to_what_was_used_already_is_not_believed_either() -> None:
    facilitator = ScriptedFacilitator(REFUSED, reason="invalid_transaction_state")

    def was_busy(_node: make.FakeNode) -> None:
        facilitator.reason = "duplicate_settlement" if facilitator.settled == 2 else "busy"

    facilitator.landing = was_busy

    assert (await _settle(facilitator)).outcome is UNKNOWN


async def test_our_own_signers_no_is_final() -> None:
    facilitator = ScriptedFacilitator(REFUSED, reason="insufficient_funds", refusals_are_final=True)

    assert (await _settle(facilitator)).outcome is REFUSED


async def test_a_trusted_yes_asks_the_chain_nothing() -> None:
    facilitator = ScriptedFacilitator(SETTLED, TX)

    concluded = await _settle(facilitator, trusted=True)

    assert (concluded.outcome, facilitator.node.calls) == (SETTLED, [])


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("has_code", [False, True])
async def test_a_payer_with_code_is_known_whoever_is_trusted(trusted: bool, has_code: bool) -> None:
    facilitator = ScriptedFacilitator(SETTLED, TX)
    if has_code:
        facilitator.node.code.add(PAID.payer)

    assert await _settler(facilitator, trusted=trusted).payer_has_code(PAID) is has_code


async def test_without_a_chain_nothing_is_known_of_the_payer() -> None:
    facilitator = ScriptedFacilitator(SETTLED, TX)
    facilitator.node.unavailable = True

    assert await _settler(facilitator, trusted=True).payer_has_code(PAID) is None
    with pytest.raises(errors.ChainUnavailable):
        await _settler(facilitator).payer_has_code(PAID)


async def test_a_trusted_facilitators_no_is_checked_all_the_same() -> None:
    assert (await _settle(ScriptedFacilitator(REFUSED, landing=pays), trusted=True)).outcome is (
        SETTLED
    )


async def test_a_plain_settlement_costs_one_call_to_the_chain() -> None:
    facilitator = ScriptedFacilitator(SETTLED, TX, landing=pays)

    await _settle(facilitator)

    assert facilitator.node.calls == ["eth_getTransactionReceipt"]


async def test_a_transfer_that_our_node_shows_late_is_waited_for() -> None:
    facilitator = ScriptedFacilitator(SETTLED, TX)
    asked = 0

    async def lands_at_the_third_look(_seconds: float) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            pays(facilitator.node)

    route = settlement.Route(facilitator=facilitator, chain=chains.Chain(facilitator.node))
    settler = settlement.Settler({PAID.network: route}, sleep=lands_at_the_third_look)

    concluded = await settler.settle(PAID, make.requirements(), since_seconds=make.NOW)

    assert (concluded.outcome, asked) == (SETTLED, 3)


@pytest.mark.parametrize("known", [None, TX, OTHER_TX])
async def test_what_landed_before_is_not_settled_again(known: str | None) -> None:
    facilitator = ScriptedFacilitator(REFUSED)
    pays(facilitator.node)

    concluded = await _settler(facilitator).settle(
        PAID,
        make.requirements(),
        since_seconds=make.NOW - 60,
        attempted_before=True,
        known_transaction=known,
    )

    assert (concluded.outcome, facilitator.settled) == (SETTLED, 0)


async def test_an_attempt_that_did_not_land_is_made_again() -> None:
    facilitator = ScriptedFacilitator(SETTLED, TX, landing=pays)

    concluded = await _settler(facilitator).settle(
        PAID, make.requirements(), since_seconds=make.NOW, known_transaction=OTHER_TX
    )

    assert (concluded.outcome, facilitator.settled) == (SETTLED, 1)


async def test_a_transfer_in_the_last_moment_is_not_taken_for_expired() -> None:
    """The state and the time must be of one block: the nonce was free, then was paid, then late."""
    facilitator = ScriptedFacilitator(UNKNOWN)
    node = facilitator.node

    class Moves(chains.Chain):
        async def call(self, to: str, data: str, *, at_block: int | None = None) -> str:
            spent = await super().call(to, data, at_block=at_block)
            pays(node)
            node.head, node.newest_seconds = node.head + 60, PAID.valid_before + 60
            return spent

    route = settlement.Route(facilitator=facilitator, chain=Moves(node))
    settler = settlement.Settler({PAID.network: route})

    first = await settler.look(PAID, since_seconds=make.NOW)
    second = await settler.look(PAID, since_seconds=make.NOW)

    assert (first.outcome, second.outcome) == (UNKNOWN, SETTLED)


async def _recheck(node: make.FakeNode) -> settlement.Rechecked:
    settler = _settler(ScriptedFacilitator(UNKNOWN, node=node))
    return await settler.recheck(PAID, transaction=TX, since_seconds=make.NOW - 60)


async def test_ten_blocks_later_a_settlement_is_final() -> None:
    node = make.FakeNode()
    node.mine(TX, make.used(PAID), make.transfer(PAID), block=node.head - 9)

    assert (await _recheck(node)).standing is Recheck.FINAL


async def test_earlier_it_is_looked_at_again() -> None:
    node = make.FakeNode()
    pays(node)

    assert (await _recheck(node)).standing is Recheck.TOO_EARLY


async def test_a_transfer_that_a_reorganisation_dropped_has_vanished() -> None:
    node = make.FakeNode()
    pays(node)
    node.drop(TX)

    assert (await _recheck(node)).standing is Recheck.VANISHED


async def test_a_transfer_that_moved_to_another_transaction_is_followed() -> None:
    node = make.FakeNode()
    node.mine(OTHER_TX, make.used(PAID), make.transfer(PAID), block=node.head - 20)

    found = await _recheck(node)

    assert (found.standing, found.transaction) == (Recheck.FINAL, OTHER_TX)


@pytest.mark.parametrize("then", [expires, cancels, pays_somebody_else])
async def test_a_transfer_that_can_never_come_back_is_lost(then: Landing) -> None:
    node = make.FakeNode()
    then(node)

    assert (await _recheck(node)).standing is Recheck.LOST


@pytest.mark.parametrize(("then", "may_land"), [(reverts_on_chain, True), (expires, False)])
async def test_what_is_lost_by_a_revert_alone_may_still_be_submitted(
    then: Landing, may_land: bool
) -> None:
    node = make.FakeNode()
    then(node)

    found = await _recheck(node)

    assert (found.standing, found.may_land) == (Recheck.LOST, may_land)


async def test_a_recheck_without_an_answer_says_so() -> None:
    node = make.FakeNode()
    node.unavailable = True

    with pytest.raises(errors.ChainUnavailable):
        await _recheck(node)


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        (Verification(valid=True, payer=None), True),
        (Verification(valid=True, payer=PAID.payer), True),
        (Verification(valid=True, payer=make.SOMEBODY), False),
        (Verification(valid=False, payer=PAID.payer, reason="insufficient_funds"), False),
    ],
)
async def test_a_verification_of_another_payer_is_not_believed(
    answer: Verification, valid: bool
) -> None:
    settler = _settler(ScriptedFacilitator(UNKNOWN, verification=answer))

    assert (await settler.verify(PAID, make.requirements())).valid is valid


async def test_closing_closes_the_facilitators() -> None:
    facilitator = ScriptedFacilitator(UNKNOWN)

    await _settler(facilitator).close()

    assert facilitator.closed
