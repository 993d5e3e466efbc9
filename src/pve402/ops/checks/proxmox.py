"""Checks of Proxmox VE: is it reachable, does the token have its rights, does everything exist?"""

from pve402 import bootstrap
from pve402.bootstrap import rights as rights_needed
from pve402.domain import networks
from pve402.guests import direct_consoles
from pve402.ops.checks import diagnosis, findings
from pve402.ops.checks.findings import Finding
from pve402.proxmox import access, roles, storage
from pve402.proxmox import errors as pve

_LEAST_FREE_GIB = 10
_TEMPLATES = "PVE_OS_TEMPLATE or the catalogue"
_FIGURES_ALONE = frozenset({"Sys.Audit"})


async def reached(parts: bootstrap.Components) -> list[Finding]:
    """Check that Proxmox VE answers. Raises Stop if it does not."""
    try:
        version = await parts.nodes.version()
    except pve.PermissionDenied as error:  # Proxmox VE tells its version to anybody it knows
        raise findings.Stop(diagnosis.not_the_api(parts.settings)) from error
    except pve.ProxmoxError as error:
        raise findings.Stop(await diagnosis.explain(error, parts.settings)) from error
    return [findings.good("Proxmox VE", f"version {version.version}")]


async def rights(parts: bootstrap.Components) -> list[Finding]:
    """Check which rights the token lacks, and name the command that grants them."""
    chosen = parts.settings
    seen = await parts.nodes.cluster_resources()
    names = [chosen.pve_node] if chosen.pve_node else [node.node for node in seen.nodes]
    needs = rights_needed.needs(chosen, parts.leases.catalogue, names[0] if names else "pve")
    lacking = await access.Access(parts.proxmox).missing_privileges(needs)
    user = chosen.pve_token_id.partition("!")[0]
    needed = needs.privileges()
    found = [
        _lacking(path, names, user, role=roles.role_on(path, needed[path]).name)
        for path, names in lacking.items()
    ]
    return found or [findings.good("rights", "the token has all the rights it needs")]


def _lacking(path: str, privileges: frozenset[str], user: str, *, role: str) -> Finding:
    on = roles.place_of(path)
    alone = " --propagate 0" if on == "/" else ""
    mend = f"`pveum acl modify {on} --users {user} --roles {role}{alone}`"
    detail = f"the token lacks {', '.join(sorted(privileges))} on {on}"
    if on != "/" and privileges <= _FIGURES_ALONE:
        detail += ", so nodes show no figures and are chosen by their number of leases"
        return findings.note("rights", detail, mend=mend)
    return findings.bad("rights", detail, mend=mend)


async def console_role(parts: bootstrap.Components) -> list[Finding]:
    """Check that the role for Proxmox VE's own consoles grants exactly one right."""
    if parts.settings.pve_console_mode != "direct":
        return []
    role, held = await direct_consoles.find_role(access.Access(parts.proxmox))
    what, mend = f"role {role}", f'`pveum role add {role} --privs "VM.Console"`'
    if held is None:
        detail = "does not exist, but PVE_CONSOLE_MODE=direct needs it"
        return [findings.bad(what, detail, variable="PVE_CONSOLE_MODE", mend=mend)]
    if held == direct_consoles.PRIVILEGES:
        return [findings.good(what, "grants only VM.Console")]
    mend = f'`pveum role modify {role} --privs "VM.Console"`'
    return [findings.bad(what, f"grants {', '.join(sorted(held))}", mend=mend)]


async def nodes(parts: bootstrap.Components) -> list[Finding]:
    """Check each node that containers may be created on."""
    chosen = parts.settings
    seen = await parts.nodes.cluster_resources()
    known = [node.node for node in seen.nodes]
    names = [name for name in known if chosen.pve_node in ("", name)]
    if not names:
        detail = f"there is no node {chosen.pve_node!r}" if chosen.pve_node else "none is visible"
        mend = f"the nodes are {', '.join(known)}" if known else ""
        return [findings.bad("nodes", detail, variable="PVE_NODE", mend=mend)]
    found = [*_unknown_in_skus(parts, known), *await _pool(parts)]
    for name in names:
        for disks in _storages_on(parts, name):
            found += await _disks(parts, name, disks)
        found += await _volumes(parts, name)
        found += await _bridges(parts, name)
    return found


def _unknown_in_skus(parts: bootstrap.Components, known: list[str]) -> list[Finding]:
    return [
        findings.bad(
            f"sku {sku.name}",
            f"names the node {node!r}, which the cluster does not have",
            variable="PVE402_CATALOGUE",
            mend=f"the nodes are {', '.join(known)}",
        )
        for sku in parts.leases.catalogue.skus.values()
        for node in sorted(sku.nodes - set(known))
    ]


async def _pool(parts: bootstrap.Components) -> list[Finding]:
    """Check that the resource pool exists, if there is one and our token may see it."""
    name = parts.settings.pve_pool
    try:
        if name is not None:
            await parts.nodes.check_pool(name)
    except pve.PoolMissing:
        mend = f"`pvesh create /pools --poolid {name}`"
        return [findings.bad(f"pool {name}", "is not there", variable="PVE_POOL", mend=mend)]
    except pve.PermissionDenied:
        return []
    return []


def _storages_on(parts: bootstrap.Components, node: str) -> list[str]:
    """Return the storages for disks of the skus that are sold on a node."""
    skus = parts.leases.catalogue.skus.values()
    sold = [sku for sku in skus if sku.is_sold_on(node)]
    return list(dict.fromkeys(name for sku in sold for name in sku.storages))


async def _disks(parts: bootstrap.Components, node: str, name: str) -> list[Finding]:
    is_usual = name == parts.settings.pve_storage
    what, variable = f"storage {name} on {node}", "PVE_STORAGE" if is_usual else "PVE402_CATALOGUE"
    storages = storage.Storages(parts.proxmox)
    try:
        disks = await storages.status(node, name)
    except pve.ProxmoxError as error:
        seen = [row.storage for row in await storages.list(node, content="rootdir")]
        mend = f"these hold containers: {', '.join(seen)}" if seen else "see `pvesm status`"
        return [findings.bad(what, _reason(error), variable=variable, mend=mend)]
    parts.view.note_storage(node, disks)  # its type, for what is said of clones
    if "rootdir" not in disks.content:
        content = ",".join(sorted({*disks.content, "rootdir"}))
        mend = f"`pvesm set {name} --content {content}`, or use another storage"
        return [findings.bad(what, "holds no containers", variable=variable, mend=mend)]
    if not disks.active:
        return [findings.bad(what, "is not active", variable=variable, mend="see `pvesm status`")]
    free_gib = (disks.available or 0) // 2**30
    if disks.available is not None and free_gib < _LEAST_FREE_GIB:
        mend = "free some space, or use another storage"
        return [findings.note(what, f"has {free_gib} GiB left", variable=variable, mend=mend)]
    return [findings.good(what, "holds containers")]


async def _volumes(parts: bootstrap.Components, node: str) -> list[Finding]:
    storages, held, found = storage.Storages(parts.proxmox), set[str](), list[Finding]()
    wanted = sorted(rights_needed.templates(parts.settings, parts.leases.catalogue, node))
    unread = set[str]()
    for where in sorted({_storage_of(volume) for volume in wanted}):
        try:
            held |= {template.volid for template in await storages.templates(node, where)}
        except pve.ProxmoxError as error:
            unread.add(where)
            seen = [row.storage for row in await storages.list(node, content="vztmpl")]
            found.append(_unread_templates(node, f"{where}: {_reason(error)}", seen))
    lacking = [one for one in wanted if one not in held and _storage_of(one) not in unread]
    found += [_missing_template(volume, node) for volume in lacking]
    return found or [findings.good(f"templates on {node}", f"all {len(wanted)} exist")]


def _unread_templates(node: str, detail: str, seen: list[str]) -> Finding:
    mend = f"these hold templates: {', '.join(seen)}" if seen else "see `pvesm status`"
    return findings.bad(f"templates on {node}", detail, variable=_TEMPLATES, mend=mend)


def _missing_template(volume: str, node: str) -> Finding:
    where, _, file = volume.rpartition("/")
    return findings.bad(
        f"template on {node}",
        f"there is no {volume}",
        variable=_TEMPLATES,
        mend=f"on the node: `pveam download {_storage_of(where)} {file}`",
    )


async def _bridges(parts: bootstrap.Components, node: str) -> list[Finding]:
    """Check the bridges of the skus that are sold on a node."""
    sold, bridges = parts.leases.catalogue, await parts.nodes.bridges(node)
    skus = [sku for sku in sold.skus.values() if sku.is_sold_on(node)]
    wanted = {profile.name: profile for profile in map(sold.network_of, skus)}
    return [_bridge(profile, node, bridges) for profile in wanted.values()]


def _bridge(profile: networks.NetworkProfile, node: str, bridges: tuple[str, ...]) -> Finding:
    what = f"{'vnet' if profile.zone else 'bridge'} {profile.bridge} on {node}"
    if profile.bridge in bridges:
        return findings.good(what, "is there")
    seen = f"the node has {', '.join(bridges)}" if bridges else "no bridge is visible there"
    where = "PVE_BRIDGE" if profile.is_of_variables else "PVE402_CATALOGUE"
    return findings.bad(what, "is not there", variable=where, mend=seen)


def _storage_of(volume: str) -> str:
    return volume.partition(":")[0]


def _reason(error: pve.ProxmoxError) -> str:
    return error.message.strip().rstrip(".")
