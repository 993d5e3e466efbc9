"""Changes as commands for a root shell on a node: `pveum` where it can, else `pvesh`."""

import re
import shlex
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from pve402.proxmox import parameters
from pve402.proxmox.administration import Change
from pve402.setup.firewall_steps import RuleStep
from pve402.setup.steps import Step, TemplateStep

_PVEUM = (
    ("POST", "/access/roles", "role add", "roleid"),
    ("PUT", "/access/roles/([^/]+)", "role modify", ""),
    ("POST", "/access/users", "user add", "userid"),
    ("PUT", "/access/users/([^/]+)", "user modify", ""),
    ("POST", "/access/users/([^/]+)/token/([^/]+)", "user token add", ""),
    ("PUT", "/access/users/([^/]+)/token/([^/]+)", "user token modify", ""),
    ("PUT", "/access/acl", "acl modify", "path"),
)
"""Method, path, command, and the parameter that the command takes as an argument."""
_VERBS = {"POST": "create", "PUT": "set"}


def lines(wanted: Iterable[Step]) -> Iterator[str]:
    """Yield the lines to paste; whoever pastes them twice changes nothing the second time."""
    has_fresh_list = False
    for step in wanted:
        if isinstance(step, TemplateStep) and not has_fresh_list:
            has_fresh_list = True
            yield "pveam update"
        yield f"# {step.what}"
        tries = [command(change) for change in step.changes]
        yield " || ".join([_look_for(step), *tries] if isinstance(step, RuleStep) else tries)


def _look_for(step: RuleStep) -> str:
    """Return the command that succeeds if the rule stands: adding it again would double it."""
    rules = parameters.api_path("nodes", step.node, "firewall", "rules")
    listed = shlex.join(["pvesh", "get", rules, "--output-format", "json"])
    return f"{listed} | {shlex.join(['grep', '-qF', step.rule.comment])}"


def command(change: Change) -> str:
    """Return the command that makes a change."""
    given = parameters.encode(change.parameters)
    words = _pveum(change, given) or ["pvesh", _VERBS[change.method], change.path]
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    return shlex.join([*words, *options])


def _pveum(change: Change, given: dict[str, str]) -> list[str]:
    """Return the command and its arguments, which leave the options; empty if pveum has none."""
    for method, pattern, words, argument in _PVEUM:
        found = re.fullmatch(pattern, change.path)
        if change.method == method and found:
            arguments = [unquote(part) for part in found.groups()]
            arguments += [given.pop(argument)] if argument else []
            return ["pveum", *words.split(), *arguments]
    return []
