"""Proxmox VE's firewall: the rules of single guests, and what the datacenter and nodes say of it.

What the calls do not say: a new rule always goes on top, whatever `pos` it names, and is off unless
it says `enable`; a position is only safe with the digest that was read with it; a change of a guest
that does not exist is kept for the next guest with its vmid. No call says when a change holds:
pve-firewall reads the files every ten seconds. Rules filter only cards with `firewall=1`, and only
while the datacenter's firewall is on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Literal

from pve402.proxmox import answers, errors, parameters, shapes
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guests import GuestRef

LOCAL_NETWORK = "local_network"
"""The alias that replaces a node's own subnet where Proxmox VE lets it reach ports 8006 and 22."""
_CARD = "net0"
_OPTIONS = (
    *("enable", "policy_in", "policy_out", "ipfilter", "macfilter", "dhcp", "ndp", "radv"),
    *("log_level_in", "log_level_out"),
)
_RULE_FIELDS = (
    *("type", "action", "enable", "iface", "macro", "proto", "source", "dest", "sport", "dport"),
    *("icmp-type", "log", "comment"),
)
Facts = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of a guest's card, or of a node; what is empty matches everything."""

    direction: Literal["in", "out"]
    action: Literal["ACCEPT", "DROP"]
    interface: str = _CARD  # of a node: a bridge, or empty for all
    source: str = ""  # addresses, networks and ranges with commas between them, of one IP version
    dest: str = ""
    protocol: str = ""
    source_ports: str = ""  # up to 15 ports and ranges `first:last`, with commas between them
    ports: str = ""
    macro: str = ""  # a name of Proxmox's for protocol and ports, such as DNS
    comment: str = ""
    log: str = ""  # a level, such as info

    def facts(self) -> Facts:
        """The fields as Proxmox stores and lists them."""
        named = {
            "type": self.direction,
            "action": self.action,
            "enable": "1",
            "iface": self.interface,
            "macro": self.macro,
            "proto": self.protocol,
            "source": self.source,
            "dest": self.dest,
            "sport": self.source_ports,
            "dport": self.ports,
            "log": self.log,
            "comment": self.comment,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, kw_only=True)
class Ruleset:
    """All that filters a guest: its options, its rules from the first to the last, its sets."""

    options: Facts = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    sets: Mapping[str, frozenset[str]] = field(default_factory=dict)  # addresses by their name


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """Rules as they stand, and the digest that a change must name."""

    facts: tuple[Facts, ...]
    digest: str | None


class GuestFirewalls:
    """Reads and writes the firewalls of guests, whether the guests exist or not.

    Besides the errors it names, every method may raise Unreachable, OutcomeUnknown,
    AuthenticationFailed, PermissionDenied and ProxmoxFault.
    """

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def stands(self, ref: GuestRef, wanted: Ruleset) -> bool:
        """Whether the guest has these rules and options and nothing else, sets included."""
        rules = await self._rules(ref)
        if rules.facts != tuple(rule.facts() for rule in wanted.rules):
            return False
        if await self._options(ref) != wanted.options:
            return False
        return await self._sets(ref) == wanted.sets

    async def write(self, ref: GuestRef, wanted: Ruleset) -> None:
        """Give the guest these rules and options and no others; safe to repeat.

        New rules go on top before the old ones leave the bottom, and the options come last, so a
        guest is never without rules meanwhile. Reads back what stands: raises ConfigChanged if
        that is something else, because somebody wrote at the same time.
        """
        if await self.stands(ref, wanted):
            return
        await self._write_rules(ref, [rule.facts() for rule in wanted.rules])
        await self._write_sets(ref, wanted.sets)
        found = await self._options(ref)
        if found != wanted.options:
            dropped = ",".join(sorted(found.keys() - wanted.options.keys())) or None
            form = {**wanted.options, "delete": dropped}
            await self._client.call("PUT", ref.path("firewall", "options"), form)
        if not await self.stands(ref, wanted):
            raise errors.ConfigChanged("the firewall has other rules than were written")

    async def clear(self, ref: GuestRef) -> None:
        """Remove all rules, sets and options of a vmid. Raises like `write`."""
        await self.write(ref, Ruleset())

    async def _write_rules(self, ref: GuestRef, wanted: Sequence[Facts]) -> None:
        old = await self._rules(ref)
        if list(old.facts) == list(wanted):
            return
        path = ref.path("firewall", "rules")
        for facts in reversed(wanted):  # each goes on top of those before
            await self._client.call("POST", path, facts)
        for _ in old.facts:
            await self._delete_last_rule(ref, least=len(wanted))

    async def _delete_last_rule(self, ref: GuestRef, *, least: int) -> None:
        """Delete the rule at the bottom, unless no more than `least` rules are left."""
        rules = await self._rules(ref)
        last = len(rules.facts) - 1
        if last >= least:
            path = ref.path("firewall", "rules", str(last))
            await self._client.call("DELETE", path, {"digest": rules.digest})

    async def _write_sets(self, ref: GuestRef, wanted: Mapping[str, frozenset[str]]) -> None:
        """Make the sets these and no others; an address is added before another is removed."""
        found = await self._sets(ref)
        for name in wanted.keys() - found.keys():
            await self._client.call("POST", ref.path("firewall", "ipset"), {"name": name})
        for name in found.keys() | wanted.keys():
            path = ref.path("firewall", "ipset", name)
            old, new = found.get(name, frozenset()), wanted.get(name, frozenset())
            for entry in sorted(new - old):
                await self._client.call("POST", path, {"cidr": entry})
            for entry in sorted(old - new):
                await self._client.call("DELETE", ref.path("firewall", "ipset", name, entry))
            if name not in wanted:
                await self._client.call("DELETE", path)

    async def _rules(self, ref: GuestRef) -> _Rules:
        return await _read_rules(self._client, ref.path("firewall", "rules"))

    async def _options(self, ref: GuestRef) -> Facts:
        call = answers.Call(method="GET", path=ref.path("firewall", "options"))
        found = shapes.as_object(await self._client.call(call.method, call.path), call)
        return _known(found, _OPTIONS)

    async def _sets(self, ref: GuestRef) -> Mapping[str, frozenset[str]]:
        call = answers.Call(method="GET", path=ref.path("firewall", "ipset"))
        rows = shapes.as_rows(await self._client.call(call.method, call.path), call)
        names = [shapes.text(row, "name", call) for row in rows]
        return {name: await self._entries(ref, name) for name in names}

    async def _entries(self, ref: GuestRef, name: str) -> frozenset[str]:
        call = answers.Call(method="GET", path=ref.path("firewall", "ipset", name))
        rows = shapes.as_rows(await self._client.call(call.method, call.path), call)
        return frozenset(shapes.text(row, "cidr", call) for row in rows)


CLASSIC: Final = "pve-firewall"
NFTABLES: Final = "proxmox-firewall"
"""The two programs that filter a node, by the names of their packages."""


class ClusterFirewall:
    """What the datacenter and its nodes say about filtering; needs Sys.Audit on each."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def problem(self) -> str | None:
        """Why no guest is filtered as its rules say; None if they hold.

        Raises PermissionDenied without Sys.Audit on `/`.
        """
        found = await self._object("/cluster/firewall/options")
        if not _is_on(found):
            return "the firewall of the datacenter is off"
        if shapes.optional_whole(found, "ebtables") == 0:
            return "the datacenter filters no ARP and no hardware addresses (ebtables is 0)"
        return None

    async def is_on(self) -> bool:
        """Whether the datacenter's firewall is on, which filters the nodes themselves as well."""
        return _is_on(await self._object("/cluster/firewall/options"))

    async def node_rules(self, node: str) -> tuple[Facts, ...]:
        """The rules of a node itself, from the first to the last."""
        path = parameters.api_path("nodes", node, "firewall", "rules")
        return (await _read_rules(self._client, path)).facts

    async def local_network(self) -> str | None:
        """What stands for the network that reaches every node's own services; None: their own."""
        call = answers.Call(method="GET", path="/cluster/firewall/aliases")
        for row in shapes.as_rows(await self._client.call(call.method, call.path), call):
            if row.get("name") == LOCAL_NETWORK:
                return shapes.text(row, "cidr", call)
        return None

    async def uses_nftables(self, node: str) -> bool:
        """Whether the node filters with proxmox-firewall instead of pve-firewall."""
        path = parameters.api_path("nodes", node, "firewall", "options")
        return shapes.optional_whole(await self._object(path), "nftables") == 1

    async def version(self, node: str, program: str) -> str | None:
        """The installed version of the node's firewall program; None if we may not read it.

        `OldVersion` is the installed one where a newer one waits (PVE/API2/APT.pm).
        """
        call = answers.Call(
            method="GET", path=parameters.api_path("nodes", node, "apt", "versions")
        )
        try:
            rows = shapes.as_rows(await self._client.call(call.method, call.path), call)
        except (errors.PermissionDenied, errors.CallNotSupported):
            return None
        for row in rows:
            if shapes.optional_text(row, "Package") == program:
                old = shapes.optional_text(row, "OldVersion")
                return old or shapes.optional_text(row, "Version")
        return None

    async def addresses(self, node: str) -> frozenset[str]:
        """The addresses that the node's configuration names, IPv4 and IPv6."""
        call = answers.Call(method="GET", path=parameters.api_path("nodes", node, "network"))
        rows = shapes.as_rows(await self._client.call(call.method, call.path), call)
        named = [shapes.optional_text(row, key) for row in rows for key in ("address", "address6")]
        return frozenset(filter(None, map(_address, named)))

    async def cluster_addresses(self) -> Mapping[str, str]:
        """The address by which the cluster knows each of its nodes, by their names."""
        call = answers.Call(method="GET", path="/cluster/status")
        rows = shapes.as_rows(await self._client.call(call.method, call.path), call)
        named = {
            shapes.text(row, "name", call): _address(shapes.optional_text(row, "ip"))
            for row in rows
        }
        return {name: address for name, address in named.items() if address}

    async def _object(self, path: str) -> shapes.Fields:
        call = answers.Call(method="GET", path=path)
        return shapes.as_object(await self._client.call(call.method, call.path), call)


async def _read_rules(client: ProxmoxClient, path: str) -> _Rules:
    call = answers.Call(method="GET", path=path)
    rows = shapes.as_rows(await client.call(call.method, call.path), call)
    digest = shapes.optional_text(rows[0], "digest") if rows else None
    return _Rules(facts=tuple(_known(row, _RULE_FIELDS) for row in rows), digest=digest)


def _is_on(options: shapes.Fields) -> bool:
    return shapes.optional_whole(options, "enable") == 1


def _known(fields: shapes.Fields, names: Sequence[str]) -> Facts:
    """Return the fields with these names as text; numbers arrive as either."""
    texts = {name: shapes.optional_text(fields, name) for name in names}
    return {name: value for name, value in texts.items() if value}


def _address(text: str) -> str | None:
    """Return an address in its usual form; None for anything else."""
    try:
        return str(ip_address(text.partition("/")[0]))
    except ValueError:
        return None
