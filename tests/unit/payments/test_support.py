"""What is offered is what the facilitator settles."""

import json
from typing import Any

import pytest
from tests.support import payments as make

from pve402.payments import errors, protocol
from pve402.payments.facilitators import support, wire

NETWORK = "eip155:84532"


def kind(version: Any, network: str, scheme: str = "exact") -> dict[str, Any]:
    return {"x402Version": version, "scheme": scheme, "network": network}


class Scripted:
    """A facilitator that says what it is told to; None: it does not answer."""

    def __init__(self, *kinds: dict[str, Any] | None) -> None:
        self.kinds = kinds

    async def supported(self) -> frozenset[tuple[int, str]]:
        if None in self.kinds:
            raise errors.FacilitatorUnavailable("down")
        return wire.read_supported(200, json.dumps({"kinds": self.kinds}).encode())


@pytest.mark.parametrize(
    ("kinds", "versions"),
    [
        ([kind(2, NETWORK)], {2}),
        ([kind(1, "base-sepolia")], {1}),
        ([kind(1, "base-sepolia"), kind(2, NETWORK)], {1, 2}),
        ([kind(2, NETWORK), kind(1, "base")], {2}),
        ([kind(1, "base-sepolia", "upto"), kind(2, NETWORK)], {2}),
        ([kind(None, NETWORK), kind(None, "base")], {2}),
        ([kind(2, "eip155:8453")], set()),
        ([], set()),
        ([None], {1, 2}),
    ],
)
async def test_the_versions_of_a_network(kinds: list[Any], versions: set[int]) -> None:
    known = support.Support({NETWORK: Scripted(*kinds)})

    await known.ask()

    assert known.versions(NETWORK) == versions


async def test_a_facilitator_that_falls_silent_is_taken_at_its_last_word() -> None:
    facilitator = Scripted(kind(2, NETWORK))
    known = support.Support({NETWORK: facilitator})
    await known.ask()
    facilitator.kinds = (None,)

    assert not await known.ask()
    assert known.versions(NETWORK) == {2}


def test_what_does_not_speak_v1_is_offered_in_v2_alone() -> None:
    answer = protocol.payment_required([make.requirements(speaks_v1=False)])

    body = json.loads(answer.body)
    assert body["x402Version"] == 2
    assert "maxAmountRequired" not in answer.body.decode()
