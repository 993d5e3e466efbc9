"""Where OCI images can be sold: by Proxmox VE's version, and by what their trials showed."""

import re

from pve402 import bootstrap
from pve402.domain import oci_files
from pve402.ops.checks import findings
from pve402.ops.checks.findings import Finding
from pve402.storage import oci_rows

_FIRST = (9, 1)
_CATALOGUE = "PVE402_CATALOGUE"


async def on_sale(parts: bootstrap.Components) -> list[Finding]:
    """Say whether this Proxmox VE pulls OCI images, and what became of each file."""
    references = {str(one.reference) for one in parts.leases.catalogue.images_on_sale} - {"None"}
    if not references:
        return []
    version = (await parts.nodes.version()).version
    if _is_too_old(version):
        told = f"Proxmox VE {version} pulls no OCI images; 9.1 is the first that does"
        mend = "upgrade Proxmox VE, or name a container template"
        return [findings.bad("OCI images", told, variable=_CATALOGUE, mend=mend)]
    if not await parts.db.has_tables():
        return []
    async with parts.db.read() as tx:
        rows = await oci_rows.list_all(tx)
    found = [_of(row) for row in rows if row.reference in references]
    waiting = "none was pulled yet; the service does it while it runs"
    return found or [findings.note("OCI images", waiting)]


def _is_too_old(version: str) -> bool:
    found = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    return found is not None and (int(found[1]), int(found[2])) < _FIRST


def _of(row: oci_files.OciFile) -> Finding:
    what = f"{row.reference} on {row.node}"
    seen = f" ({row.last_error})" if row.last_error else ""
    if row.problem is not None:
        told = f"{row.problem}: {oci_files.PROBLEMS.get(row.problem, '')}{seen}"
        return findings.bad(what, told, variable=_CATALOGUE)
    if row.state is not oci_files.State.TRIED or row.verdict is None:
        return findings.note(what, f"{row.state.value}: it is not sold there yet{seen}")
    if row.is_sellable:
        return findings.good(what, "on sale")
    told = f"refused, {row.verdict}: {oci_files.VERDICTS.get(row.verdict, '')}{seen}"
    return findings.bad(what, told, variable=_CATALOGUE, mend="another image")
