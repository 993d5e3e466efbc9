"""Shows the operator the OCI images on sale, place by place, and has them tried again."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import catalogue, oci_files
from pve402.ops import screen
from pve402.proxmox import errors as pve
from pve402.proxmox import storage
from pve402.storage import oci_rows

EXIT_UNKNOWN: Final = 1
_COLUMNS = ("image", "node", "state", "cause", "pulled", "MB", "file", "told")
_BYTES_PER_MB = 10**6


async def show(parts: bootstrap.Components, console: Console, *, as_json: bool = False) -> int:
    """Print each file of an OCI image on each node; return 0."""
    async with parts.db.read() as tx:
        rows = await oci_rows.list_all(tx)
    shown = [await _facts(parts, row) for row in rows]
    if as_json:
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        return 0
    if not shown:
        console.print("no OCI image is on sale, or the service has not looked yet")
        return 0
    table = Table(*_COLUMNS, box=None)
    for one in shown:
        images = one["images"] if isinstance(one["images"], list) else []
        size = (
            "" if one["sizeBytes"] is None else f"{int(str(one['sizeBytes'])) / _BYTES_PER_MB:.1f}"
        )
        facts = (one[name] for name in ("node", "state", "cause", "pulledAt"))
        words = [screen.plain(str(fact or "")) for fact in facts]
        told = screen.plain(str(one["told"] or ""))
        table.add_row(", ".join(images), *words, size, str(one["file"]), told)
    screen.print_whole(console, table)
    return 0


async def retry(parts: bootstrap.Components, console: Console, *, name: str) -> int:
    """Have an image's files looked for and tried again; 1 if the catalogue has no such image."""
    image = parts.on_sale.now.images.get(name)
    if image is None or image.reference is None:
        sys.stderr.write(f"the catalogue has no OCI image {name[:80]!r}\n")
        return EXIT_UNKNOWN
    async with parts.db.begin() as tx:
        count = await oci_rows.try_again(parts.db, tx, image.template)
    console.print(f"{name}: to be tried again on {count} node{'' if count == 1 else 's'}")
    return 0


async def _facts(
    parts: bootstrap.Components, row: oci_files.OciFile
) -> Mapping[str, str | int | list[str] | None]:
    file = await _file(parts, row)
    return {
        "images": _names(parts.on_sale.now, row.volume),
        "reference": row.reference,
        "node": row.node,
        "file": row.volume,
        "state": _state(row),
        "cause": row.problem or (None if row.is_sellable else row.verdict),
        "told": _told(row),
        "pulledAt": None if file is None else _moment(file.created_at),
        "sizeBytes": None if file is None else file.size_bytes,
        "triedAt": _moment(row.tried_at),
        "nextAt": _moment(row.due_at) if row.problem else None,
    }


async def _file(parts: bootstrap.Components, row: oci_files.OciFile) -> storage.Template | None:
    """Return what the node shows of a file now, None without it or without an answer."""
    try:
        shown = await storage.Storages(parts.proxmox).templates(row.node, row.storage)
    except pve.ProxmoxError:
        return None
    return next((one for one in shown if one.volid == row.volume), None)


def _names(sold: catalogue.Catalogue, volume: str) -> list[str]:
    return [name for name, image in sold.images.items() if image.template == volume]


def _state(row: oci_files.OciFile) -> str:
    if row.state is not oci_files.State.TRIED:
        return "not pulled" if row.problem else row.state.value
    return "on sale" if row.is_sellable else "refused"


def _told(row: oci_files.OciFile) -> str | None:
    """Return what the cause means, and what was seen."""
    means = oci_files.PROBLEMS.get(row.problem or "")
    if means is None and row.verdict is not None and not row.is_sellable:
        means = oci_files.VERDICTS.get(row.verdict)
    parts = [part for part in (means, row.last_error) if part]
    return ": ".join(parts) or None


def _moment(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
