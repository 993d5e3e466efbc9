"""Which packets a trial guest sends, and what is shown by those that arrive and those that do not.

That a packet does not arrive shows nothing by itself: nobody may listen, or something else stops
it. So each is sent twice, before the guest's isolation rules are written and once they stand.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from pve402.domain import inbound, networks
from pve402.guests.probes import Fate, Probe, Sent
from pve402.ops.checks import findings
from pve402.ops.checks.findings import Finding

API_PORT, MAIL_PORT = 8006, 25
_CLOSED_PORT = 9  # nobody listens there, so a machine that gets a packet refuses it
_ROUTER_PORTS = (22, 80, _CLOSED_PORT)
_ROUTER_CLOSED = "its own firewall may close them, as a node's does"
_FORGED_CARD = "02:00:00:00:00:99"  # locally administered, as no card is made
_MOST_NODES = 6
_MOST_ADDRESSES = 2  # of a name

Fates = Mapping[Probe, Sent]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Whom a trial guest sends to; addresses as text, of the families that it has itself."""

    own: tuple[str, ...]
    other: tuple[str, ...]  # of the other guest
    nodes: tuple[str, ...]
    target: tuple[str, ...]  # on the internet
    target_port: int
    mail: tuple[str, ...]
    private: tuple[tuple[str, int], ...] = ()  # that the operator named
    spare: str | None = None  # of the pool, and nobody's: a forged source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """That packets arrive, or that none does. `by_other` sends them from the other guest."""

    what: str
    arrives: bool
    probes: tuple[Probe, ...]
    by_other: bool = False
    lacks: str = ""  # why there may be nothing to send
    closed: str = ""  # why nothing may answer even without rules, if that is as it should be


def claims(profile: networks.NetworkProfile, places: Places) -> list[Claim]:
    """Return what is to be shown of a guest of this network."""
    router = {pool.version: str(pool.gateway) for pool in profile.pools if pool.gateway}
    internet = _tcp(places.target, (places.target_port,), router)
    routers = _tcp(tuple(router.values()), _ROUTER_PORTS, {})
    passes = not internet or any(_may_pass(profile, probe) for probe in internet)
    found = [
        Claim(
            what=f"{'a' if passes else 'no'} packet to the internet, port {places.target_port}",
            arrives=passes,
            probes=internet,
            lacks="the target has no address here; name another with --target",
        ),
        Claim(
            what="no packet to the nodes and their API",
            arrives=False,
            probes=tuple(_to_nodes(profile, places, router)),
            lacks="the addresses of the nodes were not read",
        ),
        Claim(
            what="no packet to a private address",
            arrives=False,
            probes=tuple(_to_private(profile, places, router)),
            lacks="none is known here; name a machine with --private",
        ),
        Claim(
            what=f"no packet to port {MAIL_PORT}",
            arrives=False,
            probes=_tcp(places.mail, (MAIL_PORT,), router),
            lacks="the mail server has no address here; name another with --mail",
        ),
        Claim(
            what="no packet to the other guest",
            arrives=False,
            probes=_at_closed_door(places.other),
        ),
        Claim(
            what="no packet from a forged source",
            arrives=False,
            probes=tuple(_forged(places, router)),
            lacks="the pool has no address left to forge, or the network no IPv4",
        ),
        Claim(
            what="no ARP from a forged source",
            arrives=False,
            probes=tuple(_forged_arp(places, router)),
            lacks="the pool has no address left to forge, or no router to ask for",
        ),
        Claim(
            what="no packet from a forged hardware address",
            arrives=False,
            probes=tuple(
                dataclasses.replace(probe, card=_FORGED_CARD)
                for probe in _pings(tuple(router.values()), {})
            ),
            lacks="the network has no router that answers ping",
        ),
    ]
    if routers:
        what = "no packet to the router, but for names and ping"
        found.append(Claim(what=what, arrives=False, probes=routers, closed=_ROUTER_CLOSED))
    if routers and not passes:  # else a guest that is not connected at all would seem isolated
        pings = _pings(tuple(router.values()), {})
        found.append(Claim(what="a ping to the router", arrives=True, probes=pings))
    if not inbound.is_open(profile, None):
        what, sent = "no packet from the other guest", _at_closed_door(places.own)
        found.append(Claim(what=what, arrives=False, probes=sent, by_other=True))
    return found


def judge(claim: Claim, before: Fates, after: Fates) -> Finding:
    """Say what is shown by what arrived before there were rules, and since they stand.

    A packet that passes is a failure whatever else is known; then, one that could not be sent
    leaves the claim unknown, whatever the others show.
    """
    passed = [probe for probe in claim.probes if after[probe].fate is Fate.ARRIVED]
    if claim.arrives:
        return _judge_arrival(claim, passed, after, before)
    if passed:
        mend = "do not sell this network to strangers; see docs/how-to/networking.md"
        return findings.bad(claim.what, f"it arrives: {_listed(passed)}", mend=mend)
    if _unsent(claim, before, after):
        return _nothing_shown(claim, before, after)
    stopped = [
        probe
        for probe in claim.probes
        if before[probe].fate is Fate.ARRIVED and after[probe].fate is Fate.SILENT
    ]
    if stopped:
        return findings.good(claim.what, f"stopped, and arrived before: {_listed(stopped)}")
    return _nothing_shown(claim, before, after)


def describe(claim: Claim, seen: Fates) -> Finding:
    """Say what happens in a network that isolates nobody."""
    passed = [probe for probe in claim.probes if seen[probe].fate is Fate.ARRIVED]
    if claim.arrives or _unsent(claim, seen):
        return _judge_arrival(claim, passed, seen)
    said = f"it arrives: {_listed(passed)}" if passed else f"none arrived: {_listed(claim.probes)}"
    if not claim.probes:
        said = f"none was sent, since {claim.lacks}"
    return findings.note(claim.what, f"isolation: none; {said}")


def _judge_arrival(
    claim: Claim, passed: Sequence[Probe], seen: Fates, before: Fates | None = None
) -> Finding:
    if _unsent(claim, seen) or not claim.probes:
        return _nothing_shown(claim, seen)
    if passed:
        return findings.good(claim.what, f"arrives: {_listed(passed[:1])}")
    mend = "see whether the network has a way out, or name another target with --target"
    said = f"no answer: {_listed(claim.probes)}"
    if before is not None and all(before[one].fate is not Fate.ARRIVED for one in claim.probes):
        return findings.unknown(claim.what, f"{said}; nor without rules", mend=mend)
    return findings.bad(claim.what, said, mend=mend)


def _nothing_shown(claim: Claim, *seen: Fates) -> Finding:
    unsent = _unsent(claim, *seen)
    if not claim.probes:
        return findings.unknown(claim.what, f"none was sent, since {claim.lacks}")
    if unsent:
        reason = next(iter(unsent.values()))
        return findings.unknown(claim.what, f"not sent: {_listed([*unsent])} ({reason})")
    said = f"without rules there is no answer either: {_listed(claim.probes)}"
    if claim.closed:
        return findings.note(claim.what, f"{said}; {claim.closed}")
    return findings.unknown(claim.what, said, mend=claim.lacks)


def _unsent(claim: Claim, *seen: Fates) -> dict[Probe, str]:
    """Return the probes of a claim that could not be sent at some time, each with the reason."""
    sent = [(probe, fates[probe]) for fates in seen for probe in claim.probes]
    return {probe: one.reason for probe, one in sent if one.fate is Fate.UNSENT}


def _to_nodes(
    profile: networks.NetworkProfile, places: Places, router: Mapping[int, str]
) -> Iterator[Probe]:
    for node in places.nodes[:_MOST_NODES]:
        sent = _tcp((node,), (API_PORT,), router)
        if node not in router.values():  # a router answers ping
            sent += _pings((node,), router)
        yield from (probe for probe in sent if not _is_listed(profile, probe))


def _to_private(
    profile: networks.NetworkProfile, places: Places, router: Mapping[int, str]
) -> Iterator[Probe]:
    named = [probe for host, port in places.private for probe in _tcp((host,), (port,), router)]
    near = (*_at_closed_door(places.other), *_tcp(tuple(router.values()), _ROUTER_PORTS, {}))
    private = [probe for probe in near if ip_address(probe.host).is_private]
    yield from (probe for probe in (*named, *private) if not _is_listed(profile, probe))


def _forged(places: Places, router: Mapping[int, str]) -> Iterator[Probe]:
    if places.spare is None:
        return
    for gateway in (router[4],) if 4 in router else ():
        yield Probe(kind="ping", host=gateway, source=places.spare)
    for target in places.target:
        if ip_address(target).version == 4:
            found = Probe(
                kind="tcp",
                host=target,
                port=places.target_port,
                router=router.get(4),
                source=places.spare,
            )
            yield found


def _forged_arp(places: Places, router: Mapping[int, str]) -> Iterator[Probe]:
    if places.spare is not None and 4 in router:
        yield Probe(kind="arp", host=router[4], source=places.spare)


def _at_closed_door(hosts: tuple[str, ...]) -> tuple[Probe, ...]:
    return _tcp(hosts, (_CLOSED_PORT,), {}) + _pings(hosts, {})


def _tcp(
    hosts: tuple[str, ...], ports: tuple[int, ...], router: Mapping[int, str]
) -> tuple[Probe, ...]:
    return tuple(
        Probe(kind="tcp", host=host, port=port, router=router.get(ip_address(host).version))
        for host in hosts
        for port in ports
    )


def _pings(hosts: tuple[str, ...], router: Mapping[int, str]) -> tuple[Probe, ...]:
    return tuple(
        Probe(kind="ping", host=host, router=router.get(ip_address(host).version)) for host in hosts
    )


def _may_pass(profile: networks.NetworkProfile, probe: Probe) -> bool:
    """Whether the profile lets a packet out to the internet."""
    return profile.egress is networks.Egress.OPEN or _is_listed(profile, probe)


def _is_listed(profile: networks.NetworkProfile, probe: Probe) -> bool:
    return probe.kind == "tcp" and any(
        allowed.protocol == "tcp"
        and ip_address(probe.host) in allowed.subnet
        and str(probe.port) in allowed.ports.split(",")
        for allowed in profile.allowed
    )


def _listed(some: Sequence[Probe]) -> str:
    return ", ".join(str(probe) for probe in some)


def first_addresses(found: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """Return the first addresses of a name that are of a family that the guest has."""
    versions = {ip_address(one).version for one in own}
    return tuple(one for one in found if ip_address(one).version in versions)[:_MOST_ADDRESSES]
