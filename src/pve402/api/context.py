"""The context that handlers get from the application: the service, the gate and the rest."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import cast

from starlette.requests import HTTPConnection

from pve402.api import gate
from pve402.guests import guest_work
from pve402.leases import access, redeeming, service


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Everything that handlers use; one per application."""

    leases: service.LeaseService
    redeeming: redeeming.Redeeming
    access: access.Access
    gate: gate.Gate
    work: guest_work.GuestWork
    stats_fields: frozenset[str]  # the node figures that we show
    readiness: Callable[[], Awaitable[dict[str, bool]]]


def of(request: HTTPConnection) -> Context:
    """Return the context of the application that serves the request."""
    return cast("Context", request.app.state.context)
