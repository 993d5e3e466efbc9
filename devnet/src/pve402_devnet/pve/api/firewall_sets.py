"""Sets of addresses and aliases, of guests and of the datacenter."""

from dataclasses import replace

from pve402_devnet.pve import errors, rest
from pve402_devnet.pve.api import firewall_scopes as scopes
from pve402_devnet.pve.firewall import files, specs
from pve402_devnet.pve.guest_schema import flag, text
from pve402_devnet.pve.schema import Property

_NAME = Property(pattern=specs.NAME, min_length=2, max_length=specs.LONGEST_NAME)
_NAME_OPTIONAL = replace(_NAME, optional=True)
_CIDR = Property(format="IPorCIDR")
_MEMBER = Property(format="IPorCIDRorAlias")


class SetCalls:
    """The calls about the sets of one firewall."""

    def __init__(self, scope: scopes.Scope) -> None:
        self._scope = scope

    async def list_sets(self, call: rest.Call) -> rest.Json:
        """Every set, without its addresses."""
        return files.list_with_digest(self._listed(call))

    async def create(self, call: rest.Call) -> rest.Json:
        """Make a set, or give one another name or comment."""
        sets, name = self._scope.file(call).sets, call.text("name")
        if call.text("rename"):
            self._rename(call, call.text("rename"), name)
        elif name in sets:
            raise errors.ParameterErrors({"name": f"IPSet '{name}' already exists"})
        else:
            sets[name] = files.IpSet(comment=call.text("comment"))
        return None

    async def delete(self, call: rest.Call) -> rest.Json:
        """Remove a set that is empty, or any with `force`."""
        if self._set(call).entries and not call.flag("force"):
            raise errors.Failure(f"IPSet '{call.text('name')}' is not empty")
        del self._scope.file(call).sets[call.text("name")]
        return None

    async def list_entries(self, call: rest.Call) -> rest.Json:
        """The addresses of a set."""
        return files.list_with_digest(self._set(call).entries)

    async def read_entry(self, call: rest.Call) -> rest.Json:
        """One address of a set."""
        listed = files.list_with_digest(self._set(call).entries)
        return next((entry for entry in listed if entry["cidr"] == call.text("cidr")), None) or (
            _no_entry()
        )

    async def add_entry(self, call: rest.Call) -> rest.Json:
        """Put an address or network into a set; host bits behind the mask are dropped."""
        entries = self._set(call).entries
        cidr = self._stored_member(call)
        if any(entry["cidr"] == cidr for entry in entries):
            raise errors.ParameterErrors({"cidr": f"address '{cidr}' already exists"})
        if cidr.endswith("/0"):
            text_ = "a zero prefix is not allowed in ipset entries"
            raise errors.ParameterErrors({"cidr": text_})
        entries.append({"cidr": cidr, **_described(call)})
        entries.sort(key=lambda entry: str(entry["cidr"]))
        return None

    async def update_entry(self, call: rest.Call) -> rest.Json:
        """Change what is noted of an address."""
        entries = self._set(call).entries
        scopes.require_digest(call, entries)
        for entry in entries:
            if entry["cidr"] == call.text("cidr"):
                cidr = entry["cidr"]
                entry.clear()
                entry.update({"cidr": cidr, **_described(call)})
                return None
        return _no_entry()

    async def delete_entry(self, call: rest.Call) -> rest.Json:
        """Take an address out of a set; one that is not there is no error."""
        entries = self._set(call).entries
        scopes.require_digest(call, entries)
        entries[:] = [entry for entry in entries if entry["cidr"] != call.text("cidr")]
        return None

    def routes(self) -> tuple[rest.Route, ...]:
        """The calls below `/ipset`."""
        scope, one, member = self._scope, "/ipset/{name}", "/ipset/{name}/{cidr...}"
        here = {"name": _NAME, "cidr": _MEMBER}
        notes = {"comment": text(), "nomatch": flag()}
        return (
            scope.read("/ipset", self.list_sets),
            scope.write(
                "POST",
                "/ipset",
                self.create,
                name=_NAME,
                rename=_NAME_OPTIONAL,
                comment=text(),
                digest=scopes.DIGEST,
            ),
            scope.read(one, self.list_entries, name=_NAME),
            scope.write("POST", one, self.add_entry, **here, **notes),
            scope.write("DELETE", one, self.delete, name=_NAME, force=flag()),
            scope.read(member, self.read_entry, **here),
            scope.write("PUT", member, self.update_entry, **here, **notes, digest=scopes.DIGEST),
            scope.write("DELETE", member, self.delete_entry, **here, digest=scopes.DIGEST),
        )

    def _listed(self, call: rest.Call) -> list[files.Entry]:
        rows: list[files.Entry] = []
        for name, one in sorted(self._scope.file(call).sets.items()):
            row: files.Entry = {"name": name}
            rows.append({**row, "comment": one.comment} if one.comment else row)
        return rows

    def _rename(self, call: rest.Call, old: str, new: str) -> None:
        sets = self._scope.file(call).sets
        scopes.require_digest(call, self._listed(call))
        if old not in sets:
            raise errors.ParameterErrors({"name": f"IPSet '{old}' does not exist"})
        if new in sets and new != old:
            raise errors.ParameterErrors({"name": f"IPSet '{new}' does already exist"})
        renamed = sets.pop(old)
        renamed.comment = call.text("comment", renamed.comment)
        sets[new] = renamed

    def _set(self, call: rest.Call) -> files.IpSet:
        found = self._scope.file(call).sets.get(call.text("name"))
        if found is None:
            raise errors.Failure(f"no such IPSet '{call.text('name')}'")
        return found

    def _stored_member(self, call: rest.Call) -> str:
        cidr = call.text("cidr")
        alias = specs.ALIAS.fullmatch(cidr)
        if alias is None:
            return specs.clean_network(cidr)[0]
        own = self._scope.file(call).aliases
        if alias[2].lower() not in {**call.world.firewalls.cluster.aliases, **own}:
            raise errors.Failure(f"no such alias '{alias[2]}'")
        return cidr


class AliasCalls:
    """The calls about the aliases of one firewall. A name is one whatever its case."""

    def __init__(self, scope: scopes.Scope) -> None:
        self._scope = scope

    async def list_all(self, call: rest.Call) -> rest.Json:
        """Every alias."""
        return files.list_with_digest(self._listed(call))

    async def read(self, call: rest.Call) -> rest.Json:
        """One alias."""
        return self._existing(call)

    async def create(self, call: rest.Call) -> rest.Json:
        """Make an alias of an address or network."""
        aliases, name = self._scope.file(call).aliases, call.text("name")
        if name.lower() in aliases:
            raise errors.ParameterErrors({"name": f"alias '{name}' already exists"})
        aliases[name.lower()] = _alias(call, name)
        return None

    async def update(self, call: rest.Call) -> rest.Json:
        """Change an alias, its name included."""
        aliases, name = self._scope.file(call).aliases, call.text("name")
        scopes.require_digest(call, self._listed(call))
        self._existing(call)
        new = call.text("rename", name)
        if new.lower() != name.lower() and new.lower() in aliases:
            raise errors.ParameterErrors({"name": f"alias '{new}' already exists"})
        del aliases[name.lower()]
        aliases[new.lower()] = _alias(call, new)
        return None

    async def delete(self, call: rest.Call) -> rest.Json:
        """Remove an alias; one that is not there is no error."""
        scopes.require_digest(call, self._listed(call))
        self._scope.file(call).aliases.pop(call.text("name").lower(), None)
        return None

    def routes(self) -> tuple[rest.Route, ...]:
        """The calls below `/aliases`."""
        scope, one = self._scope, "/aliases/{name}"
        content = {"name": _NAME, "cidr": _CIDR, "comment": text()}
        return (
            scope.read("/aliases", self.list_all),
            scope.write("POST", "/aliases", self.create, **content),
            scope.read(one, self.read, name=_NAME),
            scope.write(
                "PUT", one, self.update, **content, rename=_NAME_OPTIONAL, digest=scopes.DIGEST
            ),
            scope.write("DELETE", one, self.delete, name=_NAME, digest=scopes.DIGEST),
        )

    def _listed(self, call: rest.Call) -> list[files.Entry]:
        return [alias for _, alias in sorted(self._scope.file(call).aliases.items())]

    def _existing(self, call: rest.Call) -> files.Entry:
        found = self._scope.file(call).aliases.get(call.text("name").lower())
        if found is None:
            raise errors.ParameterErrors({"name": "no such alias"})
        return found


def _alias(call: rest.Call, name: str) -> files.Entry:
    cidr, version = specs.written_address(call.text("cidr"))
    alias: files.Entry = {"name": name, "cidr": cidr, "ipversion": version}
    return {**alias, "comment": call.text("comment")} if call.text("comment") else alias


def _described(call: rest.Call) -> files.Entry:
    notes: files.Entry = {"nomatch": 1} if call.flag("nomatch") else {}
    return {**notes, "comment": call.text("comment")} if call.text("comment") else notes


def _no_entry() -> rest.Json:
    raise errors.ParameterErrors({"cidr": "no such IP/Network"})


ROUTES = tuple(
    route
    for scope in (scopes.GUEST, scopes.CLUSTER)
    for calls in (SetCalls(scope), AliasCalls(scope))
    for route in calls.routes()
)
