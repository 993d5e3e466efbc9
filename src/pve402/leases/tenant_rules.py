"""The firewall rules of a tenant's guest: what its network lets through, and what it never may.

In this order: no mail, no DHCP server; DNS and ping to the router and the name servers; the
address at which guests reach this service, and what the operator lists as allowed; nothing to
private and multicast ranges, to neighbours, to any node of the cluster or to the rest of the
router; then what the tenant lets in; then the policies. Addresses, hardware addresses, ARP and
router advertisements are filtered by options, before any rule.
"""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Self

from pve402.domain import inbound, networks
from pve402.proxmox import firewall

_OWN_ADDRESSES = "ipfilter-net0"  # the set that Proxmox VE holds the first card to
_LOGGED = {"log_level_in": "info", "log_level_out": "info"}
_MAIL_PORTS = "25,465,587"
_NAME_LENGTH = 8  # of 16 characters that a row has for two of them
_MOST_IN_A_RULE = 10  # Proxmox VE takes 512 characters, and the longest address has 43
_NOT_PUBLIC = {
    4: (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("224.0.0.0/4", "255.255.255.255"),
    ),
    6: ("fc00::/7", "fe80::/10", "ff00::/8"),
}
"""Private, link-local, shared and multicast ranges. The questions and answers of IPv6 about
neighbours never come here: Proxmox VE's option `ndp` lets them pass before any rule."""
_LISTENERS = "ff02::16"
"""Where a guest says which groups it listens to (RFC 3810), that of its own address above all:
switches that snoop send it questions about its address only then."""
_PING = {4: "icmp", 6: "ipv6-icmp"}


def rules_of(
    network: networks.NetworkProfile,
    node_addresses: Collection[str],
    own: Collection[networks.Allowed] = (),
    openings: Sequence[inbound.Opening] | None = None,
    addresses: Mapping[str, str] | None = None,
) -> firewall.Ruleset:
    """Return options and rules for a guest of an isolated network.

    `own` is where it reaches this service, `openings` what its tenant lets in, `addresses` what it
    may send from, by family. A card shows Proxmox VE a pool's address, but not a learned one: until
    that is known, nothing of its family passes but the question for it, and nobody comes in: who
    is let in before could claim another's address.
    """
    asks = any(one.method is networks.Method.DHCP for one in network.learned)
    known = [(addresses or {}).get(one.family) for one in network.learned]
    is_known = all(known)
    is_in_open = is_known and inbound.is_open(network, openings)
    is_open = network.egress is networks.Egress.OPEN
    return firewall.Ruleset(
        options={
            "enable": "1",
            "policy_in": "ACCEPT" if is_in_open else "DROP",
            "policy_out": "ACCEPT" if is_open else "DROP",
            "ipfilter": "1",
            "macfilter": "1",
            "dhcp": "1" if asks else "0",
            "ndp": "1",
            "radv": "0",
            **(_LOGGED if network.logs_drops else {}),
        },
        rules=(
            *(_logged(rule, network) for rule in _rules(network, node_addresses, own)),
            *map(_opening, inbound.let_in(network, openings) if is_known else ()),
        ),
        sets={_OWN_ADDRESSES: frozenset(filter(None, known))} if any(known) else {},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """Names what rules are made of and may change while a guest stands; other names, other rules.

    Rows keep both as one text.
    """

    choices: str  # of where guests reach us, and of the tenant's
    closed: str  # what no guest may reach: the nodes' addresses above all

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a row keeps."""
        return cls(choices=text[:_NAME_LENGTH], closed=text[_NAME_LENGTH:])

    def __str__(self) -> str:
        """What a row keeps."""
        return self.choices + self.closed


def key_of(
    own: Collection[networks.Allowed],
    openings: Sequence[inbound.Opening] | None,
    node_addresses: Collection[str],
) -> Key:
    """Name the choices that rules would be made of now."""
    chosen = [[str(one.subnet), one.ports] for one in own], inbound.to_list(openings)
    closed = [*_NOT_PUBLIC.values()], sorted(node_addresses)
    return Key(choices=_name(chosen), closed=_name(closed))


def _name(something: object) -> str:
    return hashlib.sha256(json.dumps(something).encode()).hexdigest()[:_NAME_LENGTH]


def _rules(
    network: networks.NetworkProfile,
    node_addresses: Collection[str],
    own: Collection[networks.Allowed],
) -> Iterator[firewall.Rule]:
    yield _drop(protocol="tcp", ports=_MAIL_PORTS, comment="no mail")
    yield _drop(protocol="udp", source_ports="67", ports="68", comment="no DHCP server")
    routers = [str(one.gateway) for one in network.known if one.gateway is not None]
    if network.egress is not networks.Egress.NONE:
        for server in dict.fromkeys((*routers, *network.nameservers)):
            yield _accept(dest=server, macro="DNS", comment="names")
    for router in routers:
        yield _accept(dest=router, protocol=_PING[ip_address(router).version], comment="ping")
    if any(one.version == 6 for one in network.known):
        yield _accept(dest=_LISTENERS, protocol=_PING[6], comment="groups it listens to")
    for comment, listed in (("uploads", own), ("allowed by the operator", network.allowed)):
        for allowed in listed:
            yield _accept(
                dest=str(allowed.subnet),
                protocol=allowed.protocol,
                ports=allowed.ports,
                comment=comment,
            )
    subnets = [str(one.subnet) for one in network.known]
    for version, ranges in _NOT_PUBLIC.items():
        kept = _of_version((*ranges, *subnets, *routers, *sorted(node_addresses)), version)
        for dest in _in_parts(kept):
            yield _drop(dest=dest, comment="no way inside")


def _opening(opening: inbound.Opening) -> firewall.Rule:
    what = {"protocol": opening.protocol, "ports": ",".join(opening.ports).replace("-", ":")}
    if opening.protocol == inbound.PING:
        what = {"macro": "Ping"}
    return firewall.Rule(
        direction="in",
        action="ACCEPT",
        source=opening.source,
        comment="let in by the tenant",
        **what,
    )


def _logged(rule: firewall.Rule, network: networks.NetworkProfile) -> firewall.Rule:
    is_kept = network.logs_drops and rule.action == "DROP"
    return dataclasses.replace(rule, log="info") if is_kept else rule


def _accept(**what: str) -> firewall.Rule:
    return firewall.Rule(direction="out", action="ACCEPT", **what)


def _drop(**what: str) -> firewall.Rule:
    return firewall.Rule(direction="out", action="DROP", **what)


def _of_version(texts: Iterable[str], version: int) -> list[str]:
    """Return the addresses and networks of one IP version, each once."""
    return [one for one in dict.fromkeys(texts) if ip_network(one).version == version]


def _in_parts(addresses: list[str]) -> Iterator[str]:
    for first in range(0, len(addresses), _MOST_IN_A_RULE):
        yield ",".join(addresses[first : first + _MOST_IN_A_RULE])
