"""The simulator takes, for every call that it knows, what the official schema says."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.support import pve_schema

from pve402_devnet.pve import options, rest, routes
from pve402_devnet.pve.schema import Property

pytestmark = pytest.mark.fakepve  # whose environment has the schema

ROUTES = routes.every_route(options.SimulatorOptions())
BACKUP = "POST /nodes/{node}/vzdump"
ZONE = "POST /cluster/sdn/zones"
KNOWN = {
    "GET /": "the index of the API, which the schema leaves out",
    f"{BACKUP} node": "stands in the path, so it is always there",
    **dict.fromkeys(
        (
            *(f"{BACKUP} dumpdir", f"{BACKUP} exclude", f"{BACKUP} exclude-path"),
            *(f"{BACKUP} fleecing", f"{BACKUP} job-id", f"{BACKUP} lockwait"),
            *(f"{BACKUP} pbs-change-detection-mode", f"{BACKUP} performance", f"{BACKUP} pigz"),
            *(f"{BACKUP} script", f"{BACKUP} stdexcludes", f"{BACKUP} stdout"),
            *(f"{BACKUP} stopwait", f"{BACKUP} tmpdir"),
        ),
        "no backup is made, only its lock and its task",
    ),
    **dict.fromkeys(
        (
            *(f"{ZONE} advertise-subnets", f"{ZONE} bridge", f"{ZONE} controller"),
            *(f"{ZONE} bridge-disable-mac-learning", f"{ZONE} disable-arp-nd-suppression"),
            *(f"{ZONE} dp-id", f"{ZONE} exitnodes", f"{ZONE} exitnodes-local-routing"),
            *(f"{ZONE} exitnodes-primary", f"{ZONE} fabric", f"{ZONE} mac", f"{ZONE} peers"),
            *(f"{ZONE} rt-import", f"{ZONE} secondary-controllers", f"{ZONE} tag"),
            *(f"{ZONE} vlan-protocol", f"{ZONE} vrf-vxlan", f"{ZONE} vxlan-port"),
        ),
        "only simple zones are known, which have no use for it",
    ),
}
"""What is not as in the schema, and why."""


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_call_takes_what_the_schema_says(route: rest.Route) -> None:
    found = {name: list(faults) for name, faults in _differences(route) if name not in KNOWN}

    assert {name: faults for name, faults in found.items() if faults} == {}


def test_nothing_is_excused_that_is_as_in_the_schema() -> None:
    differing = {name for route in ROUTES for name, faults in _differences(route) if list(faults)}

    assert KNOWN.keys() <= differing


def _differences(route: rest.Route) -> Iterator[tuple[str, Iterator[str]]]:
    """What differs in a call and in each of its parameters."""
    path = route.path.replace("...}", "}")
    name = f"{route.method} {path}"
    known = pve_schema.paths().get(path, {}).get(route.method)
    if known is None:
        yield name, iter(["no such call"])
        return
    theirs = known.get("parameters", {}).get("properties", {})
    for parameter, ours in route.parameters.items():
        official = theirs.get(parameter) or theirs.get(re.sub(r"\d+$", "[n]", parameter))
        yield f"{name} {parameter}", _faults(ours, official)
    for parameter in theirs:
        numbered = re.compile(re.escape(parameter).replace(re.escape("[n]"), r"\d+"))
        if not any(map(numbered.fullmatch, route.parameters)):
            yield f"{name} {parameter}", iter(["missing"])


def _faults(ours: Property, theirs: Mapping[str, Any] | None) -> Iterator[str]:
    if theirs is None:
        yield "not in the schema"
        return
    if theirs.get("type", "string") not in {ours.type, "array"}:
        yield f"type {ours.type}, there {theirs.get('type')}"
    if bool(theirs.get("optional")) != ours.optional:
        yield f"optional {ours.optional}"
    for name in ("minimum", "maximum", "minLength", "maxLength"):
        bound = getattr(ours, re.sub("L", "_l", name))
        if bound != (None if theirs.get(name) is None else float(theirs[name])):
            yield f"{name} {bound}, there {theirs.get(name)}"
    if set(ours.enum) != set(theirs.get("enum", ())):
        yield f"values {sorted(set(ours.enum) ^ set(theirs.get('enum', ())))}"
    if ours.requires != theirs.get("requires"):
        yield f"requires {ours.requires}"
    if isinstance(theirs.get("format"), dict):
        official = {name for name, part in theirs["format"].items() if "alias" not in part}
        if set(ours.parts or ()) != official:
            yield f"parts {sorted(set(ours.parts or ()) ^ official)}"
