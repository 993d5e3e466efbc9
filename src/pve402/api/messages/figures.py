"""Answers about the load of nodes and guests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pve402 import schemas
from pve402.api.messages import leases
from pve402.domain.lease import Lease
from pve402.leases import service
from pve402.proxmox import past_figures, resources

_MB: Final = 2**20
_GB: Final = 2**30
_NO_CPU: Final = schemas.CpuFigures(usage=None, cores=None, pct=None)
_NO_SPACE: Final = schemas.SpaceFigures(total=None, used=None, free=None, pct=None)


def guest_stats(view: service.LeaseView) -> schemas.GuestStats:
    """Describe the resources that a lease's guest uses.

    Proxmox VE has no figures in a guest's first seconds: we then show its size and no usage.
    """
    shown, guest, size = view.lease, view.guest, view.lease.size
    figures: dict[str, Any] = {"cpu": None, "memory": None, "disk": None}
    if guest is not None:
        memory_total = guest.memory_total or size.memory_mb * _MB
        disk_total = guest.disk_total or size.disk_gb * _GB
        figures = {
            "cpu": _cpu(guest.cpu_usage or 0.0, guest.cpu_cores or size.cores),
            "memory": _space(guest.memory_used or 0, memory_total),
            "disk": _space(guest.disk_used or 0, disk_total),
        }
    missing = "the container is gone" if view.seen else "the machines cannot be reached right now"
    return schemas.GuestStats(
        lease_id=shown.lease_id,
        ctid=shown.ctid,
        sku=shown.sku,
        status=leases.vm_status(view).status,
        lease_status=leases.status(shown),
        error=None if guest is not None else missing,
        **figures,
    )


def usage(
    row: Lease, frame: schemas.TimeFrame, found: Sequence[past_figures.Figures]
) -> schemas.UsageAnswer:
    """Describe what a lease's guest used in the past: the newest, if it is too much."""
    newest = found[-schemas.MOST_USAGE_POINTS :]
    return schemas.UsageAnswer(
        lease_id=row.lease_id,
        ctid=leases.ctid(row) or "",
        timeframe=frame,
        points=[_point(one) for one in newest],
    )


def node_stats(
    number: int, node: resources.NodeSummary | None, shown: frozenset[str]
) -> schemas.NodeStats:
    """Describe the `shown` figures of one node; unless `name` is shown, it only gets a number."""
    return schemas.NodeStats(
        node=node.node if node and "name" in shown else f"node-{number}",
        cpu=_cpu(node.cpu_usage, node.cpu_cores) if node and "cpu" in shown else _NO_CPU,
        memory=_space(node.memory_used, node.memory_total)
        if node and "memory" in shown
        else _NO_SPACE,
        disk=_space(node.disk_used, node.disk_total) if node and "disk" in shown else _NO_SPACE,
    )


def _point(one: past_figures.Figures) -> schemas.UsagePoint:
    return schemas.UsagePoint(
        began_at=datetime.fromtimestamp(one.began_at, UTC),
        ended_at=datetime.fromtimestamp(one.ended_at, UTC),
        cpu_fraction=one.cpu_fraction,
        memory_bytes=one.memory_used,
        memory_total_bytes=one.memory_total,
        disk_bytes=one.disk_used,
        disk_total_bytes=one.disk_total,
        disk_read_bytes_per_second=one.disk_read_rate,
        disk_write_bytes_per_second=one.disk_write_rate,
        network_in_bytes_per_second=one.network_in_rate,
        network_out_bytes_per_second=one.network_out_rate,
    )


def _cpu(usage: float | None, cores: int | None) -> schemas.CpuFigures:
    """Describe CPUs by how busy they are."""
    return schemas.CpuFigures(usage=usage, cores=cores, pct=_percent(usage, 1.0))


def _space(used: int | None, total: int | None, free: int | None = None) -> schemas.SpaceFigures:
    """Describe memory or disk in bytes."""
    if free is None and used is not None and total is not None:
        free = max(0, total - used)
    return schemas.SpaceFigures(total=total, used=used, free=free, pct=_percent(used, total))


def _percent(part: float | None, whole: float | None) -> float | None:
    return round(100 * part / whole, 2) if part is not None and whole else None
