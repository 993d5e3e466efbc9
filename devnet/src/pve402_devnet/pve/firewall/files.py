"""The firewall's files: `cluster.fw`, a node's `host.fw`, and one for each guest.

A guest's file belongs to its number, not to the guest: it can be written before the guest is there.
"""

import copy
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Value = str | int
Entry = dict[str, Value]
"""A rule, an address of a set, or an alias, by the API's names."""


@dataclass(kw_only=True)
class IpSet:
    """A named set of addresses and networks; `entries` hold `cidr`, `nomatch` and `comment`."""

    comment: str = ""
    entries: list[Entry] = field(default_factory=list)


@dataclass(kw_only=True)
class SecurityGroup:
    """Rules with a name that other rules refer to."""

    comment: str = ""
    rules: list[Entry] = field(default_factory=list)


@dataclass(kw_only=True)
class FirewallFile:
    """One file. Guests and nodes have no groups, nodes have neither sets nor aliases."""

    options: Entry = field(default_factory=dict)
    rules: list[Entry] = field(default_factory=list)
    sets: dict[str, IpSet] = field(default_factory=dict)
    aliases: dict[str, Entry] = field(default_factory=dict)
    groups: dict[str, SecurityGroup] = field(default_factory=dict)


class Firewalls:
    """All files of the cluster. One that is not there reads as an empty one."""

    def __init__(self) -> None:
        self.cluster = FirewallFile()
        self._nodes: dict[str, FirewallFile] = {}
        self._guests: dict[int, FirewallFile] = {}

    def node(self, name: str) -> FirewallFile:
        """Open a node's file to change it."""
        return self._nodes.setdefault(name, FirewallFile())

    def guest(self, vmid: int) -> FirewallFile:
        """Open a guest's file to change it, whether or not there is such a guest."""
        return self._guests.setdefault(vmid, FirewallFile())

    def read_guest(self, vmid: int) -> FirewallFile:
        """Look into a guest's file."""
        return self._guests.get(vmid) or FirewallFile()

    def copy_guest(self, source: int, target: int) -> None:
        """Give a clone the file of its source."""
        if source in self._guests:
            self._guests[target] = copy.deepcopy(self._guests[source])

    def every_file(self) -> list[FirewallFile]:
        """List the files that are there."""
        return [self.cluster, *self._nodes.values(), *self._guests.values()]

    def forget_guest(self, vmid: int) -> None:
        """Remove a guest's file."""
        self._guests.pop(vmid, None)


def with_digest(entry: Mapping[str, Value]) -> Entry:
    """Copy an object and add the digest of its content."""
    return {**entry, "digest": digest_of([entry])}


def list_with_digest(entries: Iterable[Mapping[str, Value]]) -> list[Entry]:
    """Copy a list and add the digest of all of it to each entry."""
    listed = list(entries)
    digest = digest_of(listed)
    return [{**entry, "digest": digest} for entry in listed]


def digest_of(entries: Iterable[Mapping[str, Value]]) -> str:
    """SHA-1 of the entries as `key:value` lines in the order of their keys."""
    lines = (f"{name}:{entry[name]}\n" for entry in entries for name in sorted(entry))
    return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()
