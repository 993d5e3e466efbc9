"""Reads the catalogue's `[image.NAME]` tables: what new containers may be made from, by name."""

import dataclasses
import re
from typing import Any

from pve402.domain import oci

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_STORAGE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,98}[A-Za-z0-9]")
_USUAL_STORAGE = "local"  # each Proxmox VE has it
_KEYS = {"template", "oci", "storage", "os", "description", "prepare"}
_LONGEST = {"os": 64, "description": 256}
MOST_IMAGES = 64


class ImageError(ValueError):
    """A table is invalid; the text says where and why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """A container template that tenants choose by a name, and the operator's words about it.

    With a reference, the template is the file of that OCI image, which the service pulls.
    """

    name: str
    template: str  # volume id
    reference: oci.Reference | None = None
    os: str = ""
    description: str = ""
    prepare: bool = False  # keep a template of ours to clone, where the storage can


def read(tables: dict[str, Any]) -> dict[str, Image]:
    """Return the images by name. Raises ImageError."""
    if len(tables) > MOST_IMAGES:
        raise ImageError(f"image: at most {MOST_IMAGES} images")
    return {name: _image(name, table) for name, table in tables.items()}


def chosen(where: str, names: Any, known: dict[str, Image]) -> tuple[Image, ...]:
    """Return the images that a sku lists. Raises ImageError."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ImageError(f"{where}: must be a list of names of images")
    if len(set(names)) < len(names):
        raise ImageError(f"{where}: names an image twice")
    for name in names:
        if name not in known:
            raise ImageError(f"{where}: there is no [image.{name}]")
    return tuple(known[name] for name in names)


def _image(name: str, table: Any) -> Image:
    where = f"image.{name}"
    if not isinstance(table, dict):
        raise ImageError(f"{where}: must be a table")
    if not _NAME.fullmatch(name):
        raise ImageError(f"{where}: a name has at most 63 letters, digits, dots, - and _")
    for key in sorted(set(table) - _KEYS):
        raise ImageError(f"{where}: unknown key {key!r}")
    reference = _reference(where, table)
    template = _template(where, table) if reference is None else _file(where, table, reference)
    words = {key: _words(where, table, key) for key in _LONGEST}
    prepare = table.get("prepare", False)
    if not isinstance(prepare, bool):
        raise ImageError(f"{where}.prepare: must be true or false")
    return Image(name=name, template=template, reference=reference, prepare=prepare, **words)


def _template(where: str, table: dict[str, Any]) -> str:
    template = table.get("template")
    if not isinstance(template, str):
        raise ImageError(f"{where}.template: must be the volume id of a container template")
    if oci.is_file(template):
        raise ImageError(f"{where}.template: is the file of an OCI image; name the image as oci")
    if "storage" in table:
        raise ImageError(f"{where}.storage: is for OCI images; a template names its own")
    return template


def _reference(where: str, table: dict[str, Any]) -> oci.Reference | None:
    found = table.get("oci")
    if found is None:
        return None
    if "template" in table:
        raise ImageError(f"{where}: has both a template and an OCI image")
    if not isinstance(found, str):
        raise ImageError(f"{where}.oci: must be an image as HOST/PATH:TAG")
    try:
        return oci.Reference.parse(found)
    except ValueError as error:
        raise ImageError(f"{where}.oci: {error}") from error


def _file(where: str, table: dict[str, Any], reference: oci.Reference) -> str:
    """Return the volume id of an OCI image's file."""
    storage = table.get("storage", _USUAL_STORAGE)
    if not isinstance(storage, str) or not _STORAGE.fullmatch(storage):
        raise ImageError(f"{where}.storage: must be the name of a storage that holds templates")
    return reference.volume(storage)


def _words(where: str, table: dict[str, Any], key: str) -> str:
    found = table.get(key, "")
    if not isinstance(found, str) or len(found) > _LONGEST[key] or not found.isprintable():
        raise ImageError(f"{where}.{key}: must be a line of at most {_LONGEST[key]} characters")
    return found
