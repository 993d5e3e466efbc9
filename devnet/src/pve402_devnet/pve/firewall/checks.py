"""What a rule must be before it is stored: the checks of PVE::Firewall::verify_rule, in order."""

import re
from enum import Enum

from pve402_devnet.pve import errors, formats
from pve402_devnet.pve.firewall import files, macros, specs


class Place(Enum):
    """Where a rule stands; the values are Proxmox's words for it."""

    GUEST = "ct"
    NODE = "host"
    CLUSTER = "cluster"
    GROUP = "group"


_TYPES = {
    Place.GUEST: ("in", "out", "group"),
    Place.GROUP: ("in", "out", "forward"),
    Place.CLUSTER: ("in", "out", "forward", "group"),
    Place.NODE: ("in", "out", "forward", "group"),
}
_NET_DEVICE = r"net\d+"


def verify(
    rule: files.Entry, place: Place, cluster: files.FirewallFile, own: files.FirewallFile
) -> None:
    """Raise `errors.ParameterErrors` for what is wrong first; notes the rule's version of IP.

    A group that does not exist is accepted, as Proxmox accepts it.
    """
    _verify_type(rule, place)
    _verify_interface(rule, place)
    _verify_macro(rule)
    versions = _verify_protocol(rule)
    _verify_ports(rule)
    for name in ("source", "dest"):
        versions |= _verify_addresses(rule, name, cluster, own, versions)
    rule.pop("ipversion", None)
    if versions:
        rule["ipversion"] = versions.pop()


def _verify_type(rule: files.Entry, place: Place) -> None:
    kind, action = str(rule.get("type", "")), str(rule.get("action", ""))
    for name, value in (("type", kind), ("action", action)):
        if not value:
            raise errors.ParameterErrors({name: "missing property"})
    if kind not in _TYPES[place]:
        text = f"invalid rule type '{kind}' for rule_env '{place.value}'"
        raise errors.ParameterErrors({"type": text})
    if kind == "group":
        return
    if (kind, action) == ("forward", "REJECT"):
        raise errors.ParameterErrors({"action": "cannot define REJECT rules on forward chain"})
    if action not in ("ACCEPT", "DROP", "REJECT"):
        raise errors.ParameterErrors({"action": f"unknown action '{action}'"})


def _verify_interface(rule: files.Entry, place: Place) -> None:
    name = str(rule.get("iface", ""))
    if not name:
        return
    if place is Place.GROUP:
        raise errors.ParameterErrors({"type": "parameter -i not allowed for this rule type"})
    if place is Place.GUEST and re.fullmatch(_NET_DEVICE, name) is None:
        text = rf"value does not match the regex pattern '{_NET_DEVICE}'"
        raise errors.ParameterErrors({"iface": text})


def _verify_macro(rule: files.Entry) -> None:
    if "macro" not in rule:
        return
    name = macros.preferred_name(str(rule["macro"]))
    if name is None:
        raise errors.ParameterErrors({"macro": f"unknown macro '{rule['macro']}'"})
    rule["macro"] = name


def _verify_protocol(rule: files.Entry) -> set[int]:
    version = specs.icmp_version(str(rule.get("proto", "")))
    return {version} if version else set()


def _verify_ports(rule: files.Entry) -> None:
    protocol = str(rule.get("proto", ""))
    icmp = specs.icmp_version(protocol)
    if "dport" in rule:
        _verify_port(rule, "dport", icmp=icmp)
    if "icmp-type" in rule:
        _verify_icmp_type(rule, icmp)
    if "sport" in rule:
        _verify_port(rule, "sport", icmp=None)


def _verify_port(rule: files.Entry, name: str, *, icmp: int | None) -> None:
    protocol = str(rule.get("proto", ""))
    try:
        specs.require_ports(str(rule[name]), icmp_version=icmp)
    except formats.FormatError as problem:
        raise errors.ParameterErrors({name: str(problem).rstrip("\n")}) from problem
    if not protocol:
        text = f"missing property - '{name}' requires this property"
        raise errors.ParameterErrors({"proto": text})
    if protocol not in specs.WITH_PORTS and icmp is None:
        raise errors.ParameterErrors({name: f"protocol '{protocol}' does not support ports"})


def _verify_icmp_type(rule: files.Entry, icmp: int | None) -> None:
    if icmp is None:
        text = "missing property - 'icmp-type' requires this property"
        raise errors.ParameterErrors({"proto": text})
    if "dport" in rule:
        text = "'icmp-type' cannot be specified together with 'dport'"
        raise errors.ParameterErrors({"icmp-type": text})
    if rule["icmp-type"] not in specs.ICMP_TYPES[icmp]:
        text = f"invalid icmp-type '{rule['icmp-type']}' for proto '{rule['proto']}'"
        raise errors.ParameterErrors({"icmp-type": text})


def _verify_addresses(
    rule: files.Entry,
    name: str,
    cluster: files.FirewallFile,
    own: files.FirewallFile,
    versions: set[int],
) -> set[int]:
    if name not in rule:
        return set()
    text = str(rule[name])
    try:
        version = specs.address_list_version(text)
    except formats.FormatError as problem:
        raise errors.ParameterErrors({name: str(problem).rstrip("\n")}) from problem
    mixed = "detected mixed ipv4/ipv6 addresses in rule"
    if version and versions and version not in versions:
        raise errors.ParameterErrors({name: mixed})
    if version is None:
        version = _referred_version(name, text, cluster, own)
        if version and versions and version not in versions:
            raise errors.Failure(mixed)  # Proxmox names no parameter for what an alias stands for
    return {version} if version else set()


def _referred_version(
    name: str, text: str, cluster: files.FirewallFile, own: files.FirewallFile
) -> int | None:
    if text.startswith("+"):
        _require_set(name, text, cluster, own)
        return None
    match = specs.ALIAS.fullmatch(text)
    assert match is not None  # noqa: S101 - anything else is an address
    known = {**cluster.aliases, **own.aliases}
    if match[2].lower() not in known:
        raise errors.ParameterErrors({name: f"no such alias '{text}'"})
    return int(known[match[2].lower()]["ipversion"])


def _require_set(
    name: str, text: str, cluster: files.FirewallFile, own: files.FirewallFile
) -> None:
    match = specs.SET_REFERENCE.fullmatch(text)
    if match is None:
        raise errors.ParameterErrors({name: f"invalid ipset name '{text}'"})
    if match[2] not in cluster.sets and match[2] not in own.sets:
        raise errors.ParameterErrors({name: f"no such ipset '{match[2]}'"})
