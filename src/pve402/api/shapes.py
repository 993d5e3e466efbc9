"""From values of the domain to answers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, Final, cast

from pydantic import BaseModel
from starlette.responses import Response

from pve402 import schemas
from pve402.domain import account, catalogue, lease, order, price
from pve402.leases import service
from pve402.payments import addresses, networks, protocol
from pve402.proxmox import resources

_MB: Final = 2**20
_GB: Final = 2**30
_FEW: Final = 100  # 2 ms of the event loop
_VM_WORDS: Final[Mapping[resources.RunState, schemas.VmWord]] = {
    resources.RunState.RUNNING: "running",
    resources.RunState.STOPPED: "stopped",
    resources.RunState.UNKNOWN: "unknown",
}


def respond(model: BaseModel, status: int = 200) -> Response:
    """Build the response that carries one schema."""
    return Response(model.model_dump_json(by_alias=True), status, media_type="application/json")


def respond_list(models: list[Any], status: int = 200) -> Response:
    """Build the response that carries a list of schemas."""
    content = ",".join(model.model_dump_json(by_alias=True) for model in models)
    return Response(f"[{content}]", status, media_type="application/json")


async def respond_each(
    views: list[service.LeaseView], shape: Callable[[service.LeaseView], BaseModel]
) -> Response:
    """Build the response that carries a schema of each view; many are shaped in a thread."""

    def build() -> Response:
        return respond_list([shape(view) for view in views])

    return build() if len(views) <= _FEW else await asyncio.to_thread(build)


def owner_wallet(owner: str) -> str:
    """Return the address of an account with its checksum."""
    return addresses.checksum(account.address_of(owner))


def network_name(caip2: str) -> str:
    """Return the short name of a network."""
    return networks.BY_CAIP2[caip2].name


def lease_answer(answer: service.Answer, message: str) -> schemas.LeaseAnswer:
    """Describe a purchase. The ctid is shown when the lease is handed over, not before."""
    bought, paid = answer.lease, answer.order
    return schemas.LeaseAnswer(
        **_size(bought),
        lease_id=bought.lease_id,
        status=_status(bought),
        ctid=_ctid(bought),
        expires_at=bought.expires_at,
        message=message,
        owner_wallet=owner_wallet(bought.owner),
        access_token=answer.access_token,
        created_at=bought.created_at,
        deletes_at=bought.deletes_at,
        network=network_name(paid.network),
        amount=str(paid.amount_atomic),
        transaction=paid.transaction if paid.status is order.OrderStatus.SETTLED else None,
    )


def lease_item(view: service.LeaseView) -> schemas.LeaseItem:
    """Describe a lease and its guest."""
    shown = view.lease
    return schemas.LeaseItem(
        **_size(shown),
        lease_id=shown.lease_id,
        ctid=_ctid(shown),
        status=_status(shown),
        expires_at=shown.expires_at,
        network=network_name(account.split(shown.owner)[0]),
        created_at=shown.created_at,
        vm_status=vm_status(view),
        owner_wallet=owner_wallet(shown.owner),
        deletes_at=shown.deletes_at,
        ended_at=shown.ended_at,
        end_reason=shown.end_reason,
    )


def vm_status(view: service.LeaseView) -> schemas.VmStatus:
    """Describe the guest, or say that it is gone or cannot be seen."""
    guest = view.guest
    if guest is None:
        return schemas.VmStatus(status="missing" if view.seen else "unknown")
    return schemas.VmStatus(
        status=_VM_WORDS[guest.state],
        uptime=guest.uptime_seconds,
        cpu=guest.cpu_usage,
        cpus=guest.cpu_cores,
        mem=guest.memory_used,
        maxmem=guest.memory_total,
        disk=guest.disk_used,
        maxdisk=guest.disk_total,
    )


def guest_stats(view: service.LeaseView) -> schemas.GuestStats:
    """Describe what a lease's guest uses.

    Proxmox VE has no figures of a guest in its first seconds: then it has its size, and uses none.
    """
    shown, guest, size = view.lease, view.guest, view.lease.size
    figures: dict[str, Any] = {"cpu": None, "memory": None, "disk": None}
    if guest is not None:
        memory_total = guest.memory_total or size.memory_mb * _MB
        disk_total = guest.disk_total or size.disk_gb * _GB
        figures = {
            "cpu": cpu(guest.cpu_usage or 0.0, guest.cpu_cores or size.cores),
            "memory": space(guest.memory_used or 0, memory_total),
            "disk": space(guest.disk_used or 0, disk_total),
        }
    missing = "the container is gone" if view.seen else "the machines cannot be reached now"
    return schemas.GuestStats(
        lease_id=shown.lease_id,
        ctid=_ctid(shown),
        sku=shown.sku,
        status=_status(shown),
        error=None if guest is not None else missing,
        **figures,
    )


def cpu(usage: float | None, cores: int | None) -> schemas.CpuFigures:
    """Describe processors by the busy share of them."""
    return schemas.CpuFigures(usage=usage, cores=cores, pct=_percent(usage, 1.0))


def space(used: int | None, total: int | None, free: int | None = None) -> schemas.SpaceFigures:
    """Describe memory or disk in bytes."""
    if free is None and used is not None and total is not None:
        free = max(0, total - used)
    return schemas.SpaceFigures(total=total, used=used, free=free, pct=_percent(used, total))


def offer(terms: protocol.Requirements) -> schemas.Offer:
    """Describe one way to pay."""
    chain = terms.chain
    return schemas.Offer(
        network=chain.name,
        network_id=chain.caip2,
        asset=addresses.checksum(terms.asset),
        symbol=chain.symbol,
        decimals=chain.decimals,
        amount=str(terms.amount_atomic),
        pay_to=addresses.checksum(terms.pay_to),
    )


def quote(
    sku: str,
    size: lease.Size,
    minutes: int,
    price_usd: Fraction,
    offers: Sequence[protocol.Requirements],
    *,
    available: bool | None,
) -> schemas.Quote:
    """Describe the price of one request."""
    return schemas.Quote(
        sku=sku,
        runtime_minutes=minutes,
        cores=size.cores,
        memory_mb=size.memory_mb,
        disk_gb=size.disk_gb,
        price_usd=usd(price_usd),
        accepts=[offer(terms) for terms in offers],
        available=available,
    )


def sku_item(sku: catalogue.Sku) -> schemas.SkuItem:
    """Describe one shape on sale."""
    rates: dict[str, Any] = dict(sku.rates.to_strings())
    return schemas.SkuItem(
        sku=sku.name,
        description=sku.description,
        cores=_bounds(sku.cores),
        memory_mb=_bounds(sku.memory_mb),
        disk_gb=_bounds(sku.disk_gb),
        runtime_minutes=_bounds(sku.runtime_minutes),
        templates=sorted(sku.templates),
        **rates,
    )


def usd(value: Fraction) -> str:
    """Return an exact price; one with no end in decimals is cut after 18 places."""
    return price.format_usd(Fraction(int(value * 10**18), 10**18))


def until(moment: datetime | None) -> str:
    """Return a moment for a sentence."""
    return "" if moment is None else moment.strftime(" until %Y-%m-%d %H:%M:%S UTC")


def _size(of: lease.Lease) -> dict[str, Any]:
    return {
        "sku": of.sku,
        "hostname": of.hostname,
        "cores": of.size.cores,
        "memory_mb": of.size.memory_mb,
        "disk_gb": of.size.disk_gb,
    }


def _status(of: lease.Lease) -> schemas.Status:
    return cast("schemas.Status", of.tenant_status)


def _ctid(of: lease.Lease) -> str | None:
    return of.ctid if of.handed_over else None


def _bounds(of: catalogue.Bounds) -> schemas.Bounds:
    return schemas.Bounds(min=of.least, max=of.most)


def _percent(part: float | None, whole: float | None) -> float | None:
    return round(100 * part / whole, 2) if part is not None and whole else None
