"""Which fault a call meets."""

from __future__ import annotations

from typing import Any

import pytest

from pve402_devnet.facilitator.faults import Endpoint, Fault, FaultKind, FaultPlan


def test_each_endpoint_follows_its_own_oldest_fault() -> None:
    plan = FaultPlan()
    plan.add(Fault(kind=FaultKind.SLOW, endpoint=Endpoint.VERIFY))
    plan.add(Fault(kind=FaultKind.MALFORMED, times=2))
    plan.add(Fault(kind=FaultKind.SILENT))

    taken = [plan.take(Endpoint.SETTLE) for _ in range(4)]

    kinds = [fault.kind for fault in taken if fault]
    assert kinds == [FaultKind.MALFORMED] * 2 + [FaultKind.SILENT] * 2
    first = plan.take(Endpoint.VERIFY)
    assert first is not None
    assert first.kind is FaultKind.SLOW


def test_a_cleared_plan_is_honest() -> None:
    plan = FaultPlan()
    plan.add(Fault(kind=FaultKind.SILENT))

    plan.clear()

    assert plan.take(Endpoint.SETTLE) is None


@pytest.mark.parametrize("kind", FaultKind)
def test_json_and_back(kind: FaultKind) -> None:
    fault = Fault(kind=kind, endpoint=Endpoint.VERIFY, times=3, delay_seconds=0.5)

    assert Fault.from_json(fault.as_json()) == fault


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "polite"},
        {"kind": "slow", "endpoint": "supported"},
        {"kind": "slow", "times": 0},
        {"kind": "slow", "delaySeconds": -1},
        {"kind": "slow", "delaySeconds": "nan"},
        {"kind": "slow", "times": "many"},
        {"kind": []},
    ],
)
def test_bad_orders_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Fault.from_json(body)
