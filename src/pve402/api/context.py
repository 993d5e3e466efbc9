"""The context that handlers get from the application: the service, the gate and the rest."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import cast

from starlette.requests import HTTPConnection

from pve402.api import gate
from pve402.guests import guest_work
from pve402.jump import way
from pve402.leases import access, forks, ports, redeeming, request_rates, service
from pve402.leases.images import private_images


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Everything that handlers use; one per application."""

    leases: service.LeaseService
    redeeming: redeeming.Redeeming
    images: private_images.PrivateImages
    forks: forks.Forks
    access: access.Access
    gate: gate.Gate
    rates: request_rates.RequestRates
    work: guest_work.GuestWork
    ports: ports.Ports
    stats_fields: frozenset[str]  # the node figures that we show
    readiness: Callable[[], Awaitable[dict[str, bool]]]
    ssh_way: way.Way | None = None  # to the jump host, if there is one
    has_shop: bool = True


def of(request: HTTPConnection) -> Context:
    """Return the context of the application that serves the request."""
    return cast("Context", request.app.state.context)
