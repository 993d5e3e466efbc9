"""Where prepared images can be cloned."""

from pve402 import bootstrap
from pve402.leases import workflow
from pve402.leases.images import image_keeper
from pve402.ops.checks import findings
from pve402.ops.checks.findings import Finding
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.storage import image_rows


async def prepared(parts: bootstrap.Components) -> list[Finding]:
    """Say which storages make linked clones, by their types and by what is prepared there."""
    sold = parts.leases.catalogue
    prepare = {image.name for image in sold.images_on_sale if image.prepare}
    skus = [sku for sku in sold.skus.values() if prepare & set(sku.images)]
    if not skus:
        return []
    found = []
    for room in await parts.view.rooms():
        for sku in skus:
            if sku.is_sold_on(room.node) and room.storage in sku.storages:
                found.append(_storage(parts, room.node, room.storage))
                break
    return found + await _images(parts)


def _storage(parts: bootstrap.Components, node: str, name: str) -> Finding:
    what, kind = f"clones on {node}, {name}", parts.view.storage_type(node, name)
    if kind in image_keeper.LINKING:
        serves = "; one image serves all nodes" if parts.view.is_shared(node, name) else ""
        return findings.good(what, f"a storage of type {kind} makes linked clones{serves}")
    detail = f"a storage of type {kind or 'unknown'} makes no linked clones; templates are unpacked"
    mend = f"a storage of one of these types: {', '.join(sorted(image_keeper.LINKING))}"
    return findings.note(what, detail, variable="PVE402_CATALOGUE", mend=mend)


async def _images(parts: bootstrap.Components) -> list[Finding]:
    if not await parts.db.has_tables():
        return []
    async with parts.db.read() as tx:
        rows = await image_rows.list_standing(tx)
    found = []
    for row in rows:
        what = f"image {row.sku} on {row.node}"
        try:
            ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
            can = await parts.guests.can_link(ref)
        except pve.ProxmoxError as error:
            found.append(findings.note(what, workflow.reason_of(error)))
        else:
            told = "can be cloned" if can else "cannot be cloned"
            found.append(findings.good(what, f"guest {row.vmid} {told}: {row.status.value}"))
    return found
