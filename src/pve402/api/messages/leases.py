"""Answers about leases and their guests."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, Final, cast

from pve402 import schemas
from pve402.api.messages import prices
from pve402.domain import account, meter, power, price, user_data
from pve402.domain.lease import Lease
from pve402.domain.order import OrderStatus
from pve402.jump import way
from pve402.leases import service
from pve402.payments import addresses, networks
from pve402.proxmox import resources

_VM_WORDS: Final[Mapping[resources.RunState, schemas.VmWord]] = {
    resources.RunState.RUNNING: "running",
    resources.RunState.STOPPED: "stopped",
    resources.RunState.UNKNOWN: "unknown",
}


def lease_answer(
    answer: service.Answer, message: str, ssh_way: way.Way | None
) -> schemas.LeaseAnswer:
    """Describe a purchase. The ctid is shown only once the lease is handed over."""
    bought, paid = answer.lease, answer.order
    return schemas.LeaseAnswer(
        **_facts(bought),
        lease_id=bought.lease_id,
        status=status(bought),
        ctid=ctid(bought),
        expires_at=bought.expires_at,
        message=message,
        owner_wallet=owner_wallet(bought.owner),
        access_token=answer.access_token,
        created_at=bought.created_at,
        deletes_at=bought.deletes_at,
        network=network_name(paid.network),
        amount=str(paid.amount_atomic),
        transaction=paid.transaction if paid.status is OrderStatus.SETTLED else None,
        ssh=_ssh(bought, ssh_way),
    )


def lease_item(view: service.LeaseView) -> schemas.LeaseItem:
    """Describe a lease and its guest."""
    return schemas.LeaseItem(**_item(view))


def lease_details(view: service.LeaseView, ssh_way: way.Way | None) -> schemas.LeaseDetails:
    """Describe a lease, its guest and the original request."""
    kept = view.lease.metadata
    return schemas.LeaseDetails(
        **_item(view),
        template=kept.get("template"),
        ssh_public_keys=kept.get("sshPublicKeys", []),
        requester=kept.get("requester"),
        payload=kept.get("payload"),
        env=kept.get("env", []),
        wake_on=kept.get("wakeOn", []),
        idle_pause_minutes=view.lease.idle_pause_minutes,
        user_data=_user_data_item(view.script),
        ssh=_ssh(view.lease, ssh_way),
    )


def user_data_answer(
    row: Lease, found: user_data.UserData, output: bytes
) -> schemas.UserDataAnswer:
    """Describe what became of a lease's script."""
    return schemas.UserDataAnswer(
        **_user_data(found),
        lease_id=row.lease_id,
        ctid=row.ctid,
        output=output.decode("utf-8", "replace"),
        truncated=found.truncated,
    )


def _user_data_item(found: user_data.UserData | None) -> schemas.UserDataItem | None:
    return None if found is None else schemas.UserDataItem(**_user_data(found))


def _user_data(found: user_data.UserData) -> dict[str, Any]:
    """Describe it; for tenants one that we asked for is pending until it is seen to run."""
    is_asked = found.state is user_data.State.STARTING
    return {
        "state": (user_data.State.PENDING if is_asked else found.state).value,
        "started_at": found.started_at,
        "ended_at": found.ended_at,
        "exit_code": found.exit_code,
        "reason": found.reason,
        "exec_id": found.exec_id if found.state is user_data.State.RUNNING else None,
    }


def vm_status(view: service.LeaseView) -> schemas.VmStatus:
    """Describe the guest, or say that it is gone or cannot be reached."""
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


def owner_wallet(owner: str) -> str:
    """Return an account's address with checksum."""
    return addresses.checksum(account.address_of(owner))


def network_name(caip2: str) -> str:
    """Return a network's short name."""
    return networks.BY_CAIP2[caip2].name


def until(moment: datetime | None) -> str:
    """Format a moment for use in a sentence."""
    return "" if moment is None else moment.strftime(" until %Y-%m-%d %H:%M:%S UTC")


def _item(view: service.LeaseView) -> dict[str, Any]:
    shown = view.lease
    return {
        **_facts(shown, view.own_addresses),
        "lease_id": shown.lease_id,
        "ctid": ctid(shown) or "",
        "status": status(shown),
        "expires_at": shown.expires_at,
        "network": network_name(account.split(shown.owner)[0]),
        "created_at": shown.created_at,
        "vm_status": vm_status(view),
        "wanted": _wanted(shown),
        "owner_wallet": owner_wallet(shown.owner),
        "deletes_at": shown.deletes_at,
        "ended_at": shown.ended_at,
        "end_reason": shown.end_reason,
        "suspended": _suspended(shown),
        "paused": _paused(shown),
        "burn": _burn(shown),
    }


def _wanted(shown: Lease) -> str:
    is_down = shown.wanted is power.Wanted.STOPPED
    return "paused" if is_down and shown.is_paused else shown.wanted.value


def _ssh(shown: Lease, ssh_way: way.Way | None) -> schemas.SshWay | None:
    if ssh_way is None or not shown.handed_over:
        return None
    return schemas.SshWay(
        command=ssh_way.command(shown.lease_id), known_hosts=ssh_way.known_hosts_line
    )


def _suspended(shown: Lease) -> schemas.SuspensionItem | None:
    found = shown.suspension
    if found is None:
        return None
    return schemas.SuspensionItem(
        reason=found.reason, since=found.since, time_runs_on=not found.time_held
    )


def _paused(shown: Lease) -> schemas.PauseItem | None:
    found = meter.of(shown)
    if found is None or found.pause is None:
        return None
    rate = prices.usd(Fraction(found.slow_burn, meter.UNITS_PER_USD))
    return schemas.PauseItem(
        since=found.pause.since,
        until=found.pause.until,
        minute_usd=rate,
        because="idle" if found.pause.is_idle else None,
    )


def _burn(shown: Lease) -> schemas.BurnItem | None:
    """Say what a lease burns; what it does not burn for addresses and snapshots, for its size."""
    found = meter.of(shown)
    if found is None:
        return None
    rate = price.parse_usd(shown.rates.get("address_usd_minute", "0"))
    whole, own = meter.minute_usd(found.burn), rate * shown.address_count
    kept = meter.minute_usd(shown.snapshot_burn or 0)
    return schemas.BurnItem(
        minute_usd=prices.usd(whole),
        size_usd=prices.usd(max(Fraction(0), whole - own - kept)),
        addresses_usd=prices.usd(own),
        snapshots_usd=prices.usd(kept),
    )


def addresses_of(view: service.LeaseView) -> list[str]:
    """Return the addresses of a lease's guest, those that we assigned first."""
    return [one.address for one in _addresses(view.lease, view.own_addresses)]


def _addresses(lease: Lease, seen: Sequence[tuple[str, str]]) -> list[schemas.Address]:
    assigned = [(family, one, "assigned") for family, one in sorted(lease.addresses.items())]
    return [
        schemas.Address.model_validate({"family": family, "address": one, "source": source})
        for family, one, source in (*assigned, *((*found, "seen") for found in seen))
    ]


def _facts(lease: Lease, seen: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    return {
        "addresses": _addresses(lease, seen),
        "network_profile": lease.network,
        "network_status": lease.link.value,
        "sku": lease.sku,
        "hostname": lease.hostname,
        "cores": lease.size.cores,
        "memory_mb": lease.size.memory_mb,
        "disk_gb": lease.size.disk_gb,
    }


def status(lease: Lease) -> schemas.Status:
    return cast("schemas.Status", lease.tenant_status)


def ctid(lease: Lease) -> str | None:
    return lease.ctid if lease.handed_over else None
