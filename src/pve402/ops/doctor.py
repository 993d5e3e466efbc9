"""Checks everything that the service will need, and says of each thing what is wrong with it."""

import dataclasses
import time
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from rich.console import Console

from pve402 import bootstrap, config
from pve402.domain import errors
from pve402.guests import direct_consoles
from pve402.leases import instance_name
from pve402.payments import errors as payment_errors
from pve402.payments import networks
from pve402.payments.facilitators import http
from pve402.proxmox import access, storage
from pve402.proxmox import errors as pve

_CLOCKS_APART_SECONDS = 60
_OLDEST_BLOCK_SECONDS = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found."""

    ok: bool
    what: str
    detail: str


Check = Callable[[bootstrap.Components], Awaitable[list[Finding]]]


async def examine(parts: bootstrap.Components, console: Console) -> int:
    """Print a line for each check; 0 if all is well, 1 if not."""
    findings = [finding for check in CHECKS for finding in await _guarded(check, parts)]
    for finding in findings:
        mark = "[green]ok[/green]  " if finding.ok else "[red]FAIL[/red]"
        console.print(f"{mark} {finding.what}: {finding.detail}")
    return 0 if all(finding.ok for finding in findings) else 1


async def _guarded(check: Check, parts: bootstrap.Components) -> list[Finding]:
    try:
        return await check(parts)
    except (pve.ProxmoxError, payment_errors.PaymentError, OSError) as error:
        return [Finding(ok=False, what=check.__name__.strip("_"), detail=str(error))]


async def _settings(parts: bootstrap.Components) -> list[Finding]:
    chosen = parts.settings
    findings = [_identity(parts)]
    if chosen.pve_token_id.startswith("root@pam!"):
        detail = "is a token of root@pam, which may do everything; see the page on rights"
        findings.append(_good("PVE_TOKEN_ID", detail))
    if chosen.trust_facilitator:
        detail = "is on: if the facilitator lies, the loss is yours"
        findings.append(_good("TRUST_FACILITATOR", detail))
    if chosen.pve402_public_url is None:
        detail = f"is not set: tenants are told {chosen.public_url}, which only this host reaches"
        findings.append(_good("PVE402_PUBLIC_URL", detail))
    return findings


def _identity(parts: bootstrap.Components) -> Finding:
    if config.is_key_kept(parts.settings):
        return _good("settings", f"instance {parts.lease_options.instance}")
    named = parts.settings.pve402_instance
    instance = f"instance {named}" if named else "instance named by the key; set PVE402_INSTANCE"
    return _good("settings", f"{instance}; the first start makes the secret key")


async def _database(parts: bootstrap.Components) -> list[Finding]:
    file = config.sqlite_file(parts.settings)
    if file is not None and not file.exists():
        there = file.parent.is_dir()
        makes = f"the first start makes {file}, which the service's user must be allowed to"
        return [_judge(there, "database", makes, f"there is no directory {file.parent}")]
    try:
        now = await parts.db.time()
        other = await instance_name.other(parts.db, parts.lease_options.instance)
    except sa.exc.ProgrammingError:
        return [_good("database", "answers; the first start makes its tables")]
    except errors.DatabaseUnavailable as error:
        return [_bad("database", f"{error} ({error.__cause__})")]
    apart = abs(now.timestamp() - time.time())
    if apart > _CLOCKS_APART_SECONDS:
        return [_bad("database", f"its clock is {apart:.0f} s away from ours")]
    if other is not None:
        detail = f"containers stand that are marked with {other}: set PVE402_INSTANCE={other}"
        return [_bad("database", detail)]
    return [_good("database", "answers")]


async def _proxmox(parts: bootstrap.Components) -> list[Finding]:
    version = await parts.nodes.version()
    return [_good("Proxmox VE", f"version {version.version}")]


async def _rights(parts: bootstrap.Components) -> list[Finding]:
    chosen = parts.settings
    template_storages = [_storage_of(volume) for volume in sorted(_templates(parts, None))]
    seen = await parts.nodes.cluster_resources()
    names = [chosen.pve_node] if chosen.pve_node else [node.node for node in seen.nodes]
    needs = access.Needs(
        vmid=chosen.pve_vmid_min,
        node=names[0] if names else "pve",
        storages=tuple(dict.fromkeys((chosen.pve_storage, *template_storages))),
        bridge=chosen.pve_bridge,
        pool=chosen.pve_pool,
        console_users=chosen.pve_console_mode == "direct",
    )
    lacking = await access.Access(parts.proxmox).missing_privileges(needs)
    return [
        _bad("rights", f"{', '.join(sorted(names))} on {path}") for path, names in lacking.items()
    ] or [_good("rights", "the token may do all that is needed")]


async def _console_role(parts: bootstrap.Components) -> list[Finding]:
    """The role of consoles that Proxmox VE serves itself must give one right and no more."""
    if parts.settings.pve_console_mode != "direct":
        return []
    role, held = await direct_consoles.find_role(access.Access(parts.proxmox))
    what = f"role {role}"
    if held is None:
        return [_bad(what, "there is none; PVE_CONSOLE_MODE=direct needs it")]
    fits = held == direct_consoles.PRIVILEGES
    return [_judge(fits, what, "gives VM.Console alone", f"gives {', '.join(sorted(held))}")]


async def _nodes(parts: bootstrap.Components) -> list[Finding]:
    chosen = parts.settings
    seen = await parts.nodes.cluster_resources()
    names = [node.node for node in seen.nodes if chosen.pve_node in ("", node.node)]
    if not names:
        return [_bad("nodes", f"there is no node {chosen.pve_node!r}")]
    return [finding for name in names for finding in await _node(parts, name)]


async def _node(parts: bootstrap.Components, name: str) -> list[Finding]:
    chosen, storages = parts.settings, storage.Storages(parts.proxmox)
    disks = await storages.status(name, chosen.pve_storage)
    usable = disks.active and "rootdir" in disks.content
    findings = [
        _judge(usable, f"storage {chosen.pve_storage} on {name}", "holds containers", "does not")
    ]
    wanted = sorted(_templates(parts, name))
    held: set[str] = set()
    for where in {_storage_of(volume) for volume in wanted}:
        held |= {template.volid for template in await storages.templates(name, where)}
    lacking = [volume for volume in wanted if volume not in held]
    findings += [_bad(f"template on {name}", f"there is no {volume}") for volume in lacking]
    if not lacking:
        findings.append(_good(f"templates on {name}", f"all {len(wanted)} are there"))
    return findings


def _templates(parts: bootstrap.Components, node: str | None) -> set[str]:
    """Return the volumes that containers are made of, on one node or on any."""
    wanted = {parts.settings.pve_os_template}
    for sku in parts.leases.book.skus.values():
        if node is None or not sku.nodes or node in sku.nodes:
            wanted |= set(sku.templates.values())
    return wanted


def _storage_of(volume: str) -> str:
    return volume.partition(":")[0]


async def _chains(parts: bootstrap.Components) -> list[Finding]:
    findings = []
    for network in parts.settings.network:
        what = f"chain {networks.BY_CAIP2[network].name}"
        try:
            newest = await parts.settler.chain_of(network).latest_block()
        except payment_errors.PaymentError as error:
            findings.append(_bad(what, str(error)))
            continue
        age = time.time() - newest.timestamp_seconds
        said = f"block {newest.number}, {age:.0f} s old"
        findings.append(_judge(age <= _OLDEST_BLOCK_SECONDS, what, said, said))
    return findings


async def _facilitators(parts: bootstrap.Components) -> list[Finding]:
    findings = []
    for network in parts.settings.network:
        chain = networks.BY_CAIP2[network]
        what, asked = f"facilitator of {chain.name}", parts.settler.facilitator_of(network)
        if not isinstance(asked, http.HttpFacilitator):
            findings.append(_good(what, "is our own key"))
            continue
        try:
            settles = not {network, chain.name}.isdisjoint(await asked.supported_networks())
        except payment_errors.PaymentError as error:
            findings.append(_bad(what, f"gave no usable answer: {error}"))
            continue
        findings.append(_judge(settles, what, "settles there", "does not settle there"))
    return findings


CHECKS: tuple[Check, ...] = (
    _settings,
    _database,
    _proxmox,
    _rights,
    _console_role,
    _nodes,
    _chains,
    _facilitators,
)


def _judge(ok: bool, what: str, yes: str, no: str) -> Finding:
    return _good(what, yes) if ok else _bad(what, no)


def _good(what: str, detail: str) -> Finding:
    return Finding(ok=True, what=what, detail=detail)


def _bad(what: str, detail: str) -> Finding:
    return Finding(ok=False, what=what, detail=detail)
