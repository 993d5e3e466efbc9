"""Rules of guests, nodes, the datacenter and security groups, and the groups themselves."""

import itertools
from collections.abc import Callable

from pve402_devnet.pve import errors, formats, rest
from pve402_devnet.pve.api import firewall_scopes as scopes
from pve402_devnet.pve.firewall import checks, files, specs
from pve402_devnet.pve.guest_schema import number, text
from pve402_devnet.pve.schema import Properties, Property

Rules = list[files.Entry]
RulesOf = Callable[[rest.Call], Rules]

_POSITION = number(0)
_ACTION = Property(pattern=specs.NAME, min_length=2, max_length=20)
_TYPE = Property(enum=("in", "out", "forward", "group"))
_GROUP_NAME = Property(pattern=specs.NAME, min_length=2, max_length=18)
_FIELDS: Properties = {
    "macro": text(max_length=128),
    "iface": Property(optional=True, format="pve-iface", min_length=2, max_length=20),
    "source": text(format="pve-fw-addr-spec", max_length=512),
    "dest": text(format="pve-fw-addr-spec", max_length=512),
    "proto": text(format="pve-fw-protocol-spec"),
    "enable": number(0),
    "log": text(enum=scopes.LOG_LEVELS),
    "sport": text(format="pve-fw-sport-spec"),
    "dport": text(format="pve-fw-dport-spec"),
    "comment": text(),
    "icmp-type": text(),
}
_STORED = ("type", "action", *_FIELDS)
_KNOWN = (*_STORED, "pos", "digest")


class RuleCalls:
    """The calls about one list of rules."""

    def __init__(self, scope: scopes.Scope, place: checks.Place, rules: RulesOf) -> None:
        self._scope = scope
        self._place = place
        self._rules = rules

    async def list_all(self, call: rest.Call) -> rest.Json:
        """Every rule, the first to be tried first."""
        listed = files.list_with_digest(self._rules(call))
        return [{**rule, "pos": pos} for pos, rule in enumerate(listed)]

    async def read(self, call: rest.Call) -> rest.Json:
        """One rule; its position is the text of the path."""
        listed = files.list_with_digest(self._rules(call))
        return {**listed[_position(call, listed)], "pos": call.text("pos")}

    async def create(self, call: rest.Call) -> rest.Json:
        """Put a rule on top, whatever `pos` says; it is off unless `enable` says otherwise."""
        rules = self._rules(call)
        rule = _changed({}, call)
        self._verify(call, rule)
        rules.insert(0, rule)
        return None

    async def update(self, call: rest.Call) -> rest.Json:
        """Change a rule, or move it and leave all else of the call undone."""
        rules = self._rules(call)
        scopes.require_digest(call, rules)
        position = _position(call, rules)
        target = call.integer("moveto", position)
        if target != position:
            _move(rules, position, target)
            return None
        rule = _changed(rules[position], call)
        for name in formats.split_list(call.text("delete")):
            _delete_property(rule, name)
        self._verify(call, rule)
        rules[position] = rule
        return None

    async def delete(self, call: rest.Call) -> rest.Json:
        """Remove a rule; those below it move up."""
        rules = self._rules(call)
        scopes.require_digest(call, rules)
        del rules[_position(call, rules)]
        return None

    def routes(self, path: str, **parameters: Property) -> tuple[rest.Route, ...]:
        """The calls below a path."""
        scope, at = self._scope, f"{path}/{{pos}}"
        needed = {**parameters, **_FIELDS, "digest": scopes.DIGEST}
        changes = {
            "type": text(enum=_TYPE.enum),
            "action": Property(optional=True, pattern=specs.NAME, min_length=2, max_length=20),
            "moveto": number(0),
            "delete": text(format="pve-configid-list"),
        }
        here = {**parameters, "pos": _POSITION}
        return (
            scope.read(path, self.list_all, **parameters),
            scope.read(at, self.read, **here),
            scope.write(
                "POST",
                path,
                self.create,
                **{**needed, "type": _TYPE, "action": _ACTION, "pos": _POSITION},
            ),
            scope.write("PUT", at, self.update, **{**needed, **changes, "pos": _POSITION}),
            scope.write("DELETE", at, self.delete, **here, digest=scopes.DIGEST),
        )

    def _verify(self, call: rest.Call, rule: files.Entry) -> None:
        cluster = call.world.firewalls.cluster
        own = cluster if self._place is checks.Place.GROUP else self._scope.file(call)
        checks.verify(rule, self._place, cluster, own)


def _changed(rule: files.Entry, call: rest.Call) -> files.Entry:
    """Lay the fields of a call over a rule; an empty one, or a dash, takes the field away."""
    changed = dict(rule)
    for name in _STORED:
        if call.params.get(name) in ("", "-"):
            changed.pop(name, None)
        elif name in call.params:
            changed[name] = call.params[name]
    changed["enable"] = int(bool(changed.get("enable")))
    return changed


def _delete_property(rule: files.Entry, name: str) -> None:
    if name not in _KNOWN:
        raise errors.ParameterErrors({"delete": f"no such property ('{name}')"})
    if name in ("type", "action"):
        text_ = f"unable to delete required property '{name}'"
        raise errors.ParameterErrors({"delete": text_})
    rule.pop(name, None)


def _position(call: rest.Call, rules: Rules) -> int:
    position = call.integer("pos", 0)
    if position >= len(rules):
        raise errors.Failure(f"no rule at position {position}")
    return position


def _move(rules: Rules, position: int, target: int) -> None:
    """Put a rule before the one that stands at `target` now, or last."""
    rule = rules[position]
    before = [one for n, one in enumerate(rules[:target]) if n != position]
    behind = [one for n, one in enumerate(rules[target:], start=target) if n != position]
    rules[:] = [*before, rule, *behind]


# -- security groups ------------------------------------------------------------------------------


async def _list_groups(call: rest.Call) -> rest.Json:
    """Every group, without its rules."""
    return files.list_with_digest(_listed_groups(call))


async def _create_group(call: rest.Call) -> rest.Json:
    """Make a group, or give one another name or comment."""
    groups = call.world.firewalls.cluster.groups
    name = call.text("group")
    if call.text("rename"):
        _rename_group(call, call.text("rename"), name)
        return None
    if name in groups:
        raise errors.ParameterErrors({"group": f"Security group '{name}' already exists"})
    groups[name] = files.SecurityGroup(comment=call.text("comment"))
    return None


async def _delete_group(call: rest.Call) -> rest.Json:
    """Remove a group that has no rules."""
    if _rules_of_group(call):
        raise errors.Failure(f"Security group '{call.text('group')}' is not empty")
    del call.world.firewalls.cluster.groups[call.text("group")]
    return None


def _listed_groups(call: rest.Call) -> Rules:
    rows: Rules = []
    for name, group in sorted(call.world.firewalls.cluster.groups.items()):
        row: files.Entry = {"group": name}
        rows.append({**row, "comment": group.comment} if group.comment else row)
    return rows


def _rename_group(call: rest.Call, old: str, new: str) -> None:
    firewalls = call.world.firewalls
    groups = firewalls.cluster.groups
    scopes.require_digest(call, _listed_groups(call))
    if old not in groups:
        raise errors.ParameterErrors({"group": f"Security group '{old}' does not exist"})
    if new in groups and new != old:
        raise errors.ParameterErrors({"group": f"Security group '{new}' does already exist"})
    group = groups.pop(old)
    group.comment = call.text("comment", group.comment)
    groups[new] = group
    for rule in itertools.chain.from_iterable(file.rules for file in firewalls.every_file()):
        if (rule["type"], rule["action"]) == ("group", old):
            rule["action"] = new


def _rules_of_group(call: rest.Call) -> Rules:
    group = call.world.firewalls.cluster.groups.get(call.text("group"))
    if group is None:
        raise errors.Failure(f"no such security group '{call.text('group')}'")
    return group.rules


_OF_GROUP = RuleCalls(scopes.CLUSTER, checks.Place.GROUP, _rules_of_group)
_GROUPS = (
    rest.Route(
        method="GET",
        path="/cluster/firewall/groups",
        handler=_list_groups,
        permission=rest.any_user,
    ),
    scopes.CLUSTER.write(
        "POST",
        "/groups",
        _create_group,
        group=_GROUP_NAME,
        rename=Property(optional=True, pattern=specs.NAME, min_length=2, max_length=18),
        comment=text(),
        digest=scopes.DIGEST,
    ),
    scopes.CLUSTER.write("DELETE", "/groups/{group}", _delete_group, group=_GROUP_NAME),
)


def _own_rules(scope: scopes.Scope) -> RulesOf:
    return lambda call: scope.file(call).rules


ROUTES = (
    *(
        route
        for scope in (scopes.GUEST, scopes.NODE, scopes.CLUSTER)
        for route in RuleCalls(scope, scope.place, _own_rules(scope)).routes("/rules")
    ),
    *_GROUPS,
    *_OF_GROUP.routes("/groups/{group}", group=_GROUP_NAME),
)
