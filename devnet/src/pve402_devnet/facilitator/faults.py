"""Faults that a facilitator can be told to have, and when it has them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


class Endpoint(enum.StrEnum):
    """The calls that can go wrong."""

    VERIFY = "verify"
    SETTLE = "settle"


class FaultKind(enum.StrEnum):
    """One way of failing. Where it matters, the name says whether the money moved."""

    SLOW = "slow"  # waits, then does its work
    UNAVAILABLE = "unavailable"  # 503 at once, nothing done
    ERROR_AFTER_TRANSFER = "error_after_transfer"  # the transfer lands, the answer is 500
    SILENT = "silent"  # never answers, nothing done
    SILENT_AFTER_TRANSFER = "silent_after_transfer"  # the transfer lands, no answer comes
    MALFORMED = "malformed"  # the transfer lands, the answer is no JSON
    WRONG_SHAPE = "wrong_shape"  # the transfer lands, the answer is JSON without the fields
    NESTED = "nested"  # the transfer lands, the answer is brackets within brackets
    HUGE = "huge"  # the transfer lands, the answer is endless
    LYING_YES = "lying_yes"  # yes with an invented transaction, nothing done
    BORROWED_YES = "borrowed_yes"  # yes with the transaction of an earlier payment
    LYING_NO = "lying_no"  # the transfer lands, the answer is no
    WRONG_PAYER = "wrong_payer"  # the transfer lands, the answer names somebody else
    WRONG_NETWORK = "wrong_network"  # the transfer lands, the answer names another network
    PENDING = "pending"  # settlement_pending, and the transfer lands
    PENDING_500 = "pending_500"  # as pending, with status 500, as CDP's facilitator does
    PENDING_LOST = "pending_lost"  # settlement_pending, and no transfer ever lands


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault on one endpoint for a number of calls (None: until cleared)."""

    kind: FaultKind
    endpoint: Endpoint = Endpoint.SETTLE
    times: int | None = None
    delay_seconds: float = 30.0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Fault:
        """Parse a fault from the control endpoint.

        Raises:
            ValueError, TypeError: an unknown kind or endpoint, or a number out of bounds.
        """
        times = body.get("times")
        fault = cls(
            kind=FaultKind(body["kind"]),
            endpoint=Endpoint(body.get("endpoint", Endpoint.SETTLE)),
            times=None if times is None else int(times),
            delay_seconds=float(body.get("delaySeconds", 30.0)),
        )
        if not 0 <= fault.delay_seconds <= 3600 or (fault.times is not None and fault.times < 1):
            raise ValueError("delaySeconds is 0 to 3600, times at least 1")
        return fault

    def as_json(self) -> dict[str, Any]:
        """As the control endpoint shows it."""
        return {
            "kind": self.kind,
            "endpoint": self.endpoint,
            "times": self.times,
            "delaySeconds": self.delay_seconds,
        }


class FaultPlan:
    """The planned faults, oldest first; each endpoint follows the first that names it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault after those already planned."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Stop misbehaving."""
        self._faults.clear()

    def planned(self) -> list[Fault]:
        """Return the rest of the plan."""
        return list(self._faults)

    def take(self, endpoint: Endpoint) -> Fault | None:
        """Return this call's fault and count it down."""
        for index, fault in enumerate(self._faults):
            if fault.endpoint is not endpoint:
                continue
            if fault.times == 1:
                return self._faults.pop(index)
            if fault.times is not None:
                self._faults[index] = replace(fault, times=fault.times - 1)
            return fault
        return None
