"""The official schema of the Proxmox VE API, and whether a call keeps to it.

The schema is read as data from the environment of fakepve, which ships it; see fakepve.py.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.support import project

_PLACES = (".venv-fakepve", "lib", "*", "site-packages", "fakepve", "data", "pve-api.json.gz")
_INTEGER = re.compile(r"-?\d+")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call as it went over the wire; `path` starts behind `/api2/json`."""

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...]


@functools.cache
def paths() -> Mapping[str, Mapping[str, Any]]:
    """Every path of the API with its methods."""
    (file,) = project.ROOT.glob("/".join(_PLACES))
    with gzip.open(file) as packed:
        known: Mapping[str, Mapping[str, Any]] = json.load(packed)["paths"]
    return known


def template_of(path: str) -> str | None:
    """The path of the schema that a concrete path belongs to; literal segments win."""
    found = [template for template in paths() if _pattern(template).fullmatch(path)]
    return min(found, key=lambda template: template.count("{"), default=None)


def faults(call: Call) -> list[str]:
    """What is wrong with a call, in words; nothing if the schema allows it."""
    template = template_of(call.path)
    if template is None or call.method not in paths()[template]:
        return [f"no such call: {call.method} {call.path}"]
    known = paths()[template][call.method].get("parameters", {}).get("properties", {})
    inside = _pattern(template).fullmatch(call.path)
    assert inside is not None
    names = re.findall(r"{(\w+)}", template)
    values = dict(zip(names, map(unquote, inside.groups()), strict=True))
    given = [*values.items(), *call.parameters]
    wrong = [f"{name}: {fault}" for name, value in given for fault in _value(known, name, value)]
    sent = {name for name, _ in given}
    wrong += [f"{name}: sent twice" for name in sent if [n for n, _ in given].count(name) > 1]
    missing = [n for n, s in known.items() if not s.get("optional") and n not in sent]
    return wrong + [f"{name}: missing" for name in missing]


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    parts = (
        r"([^/]+)" if part.startswith("{") else re.escape(part) for part in template.split("/")
    )
    return re.compile("/".join(parts))


def _value(known: Mapping[str, Any], name: str, value: str) -> Iterable[str]:
    schema = known.get(name) or known.get(re.sub(r"\d+$", "[n]", name))
    if schema is None:
        return ["not known"]
    return _typed(schema, value)


def _typed(schema: Mapping[str, Any], value: str) -> list[str]:
    kind = schema.get("type", "string")
    if kind == "boolean":
        return [] if value in {"0", "1"} else [f"{value!r} is neither 0 nor 1"]
    if kind in {"integer", "number"}:
        return _number(schema, kind, value)
    wrong = []
    if "enum" in schema and value not in schema["enum"]:
        wrong.append(f"{value!r} is not one of {schema['enum']}")
    if len(value) > schema.get("maxLength", len(value)):
        wrong.append("too long")
    if len(value) < schema.get("minLength", 0):
        wrong.append("too short")
    if not _perl(schema.get("pattern", "(?s:.*)")).fullmatch(value):
        wrong.append(f"{value!r} is not of the pattern {schema['pattern']}")
    if isinstance(schema.get("format"), dict):
        wrong += _properties(schema["format"], value)
    return wrong


@functools.cache
def _perl(pattern: str) -> re.Pattern[str]:
    """Perl writes a compiled expression within another as `(?^:...)`."""
    return re.compile(pattern.replace("(?^:", "(?:"))


def _number(schema: Mapping[str, Any], kind: str, value: str) -> list[str]:
    if kind == "integer" and not _INTEGER.fullmatch(value):
        return [f"{value!r} is no integer"]
    number = float(value)
    low, high = schema.get("minimum", number), schema.get("maximum", number)
    return [] if low <= number <= high else [f"{value} is out of bounds"]


def _properties(form: Mapping[str, Any], text: str) -> list[str]:
    """A property string such as `name=eth0,bridge=vmbr0`; one key may stand without its name."""
    default = next((name for name, part in form.items() if part.get("default_key")), None)
    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        given |= {name: value} if equals else {default or part: part}
    wrong = [f"{name}: {f}" for name, value in given.items() for f in _value(form, name, value)]
    required = [n for n, part in form.items() if not part.get("optional") and "alias" not in part]
    return wrong + [f"{name}: missing" for name in required if name not in given]
