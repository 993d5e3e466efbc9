"""The commands to paste: what makes things first, what can cut off last, behind its timer."""

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pve402 import config
from pve402.bootstrap import catalogue_file
from pve402.domain.catalogue import Catalogue
from pve402.proxmox import administration, options
from pve402.setup import (
    addresses,
    answers,
    commands,
    firewall_steps,
    firewalling,
    sdn_steps,
    steps,
    switching,
)
from pve402.setup.configuration import UNKNOWN_YET, Asked, keep_secret
from pve402.setup.operator import Cancelled, Operator

_PASTE = (
    "Paste these commands into a root shell on a node. What is there already they leave as it is,"
    " or correct; then they say that it exists.\n"
)
_CERTIFICATE = (
    "\nThe service must know the node's certificate. Compare what this prints on the node, and add"
    " it to {file} as PVE_FINGERPRINT=AB:CD:...:\n"
    "  openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"
)
_FIREWALL = (
    "\nThe last block, from `rule on` down, switches the datacenter's firewall on. It filters every"
    " node of the cluster, so name them all with --node. Paste it line by line, and read along."
)
_NO_FIREWALL = (
    "\nNothing is sold from an isolated network until the datacenter's firewall is on. For its"
    " commands, say from where you administer the nodes, and each node's address:"
    " --from ADDRESS --node NAME=ADDRESS"
)
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


def print_commands(asked: Asked, settings: config.Settings, operator: Operator) -> None:
    """Print what to paste on a node, and keep the secret that the operator pastes back."""
    sold = catalogue_file.catalogue_of(settings)
    names = _nodes(asked, settings, operator)
    operator.tell(_PASTE)
    _hand_out(_network_lines(sold, names), operator)
    _hand_out(commands.lines(steps.steps(settings, sold, names)), operator)
    if any(one.is_isolated for one in sold.networks_on_sale.values()):
        _print_firewall(asked, settings, names, operator)
    if not (settings.pve_ca_file or settings.pve_fingerprint) and settings.pve_verify_ssl:
        operator.tell(_CERTIFICATE.format(file=asked.env_file))
    if settings.pve_token_secret.get_secret_value() == UNKNOWN_YET:
        _ask_for_secret(asked, operator)


def known_hosts(asked: Asked) -> dict[str, tuple[addresses.Network, ...]]:
    """Return the addresses that were given for nodes, without their masks. Raises Cancelled."""
    return {name: addresses.parse([text]) for name, text in asked.node_addresses.items() if text}


def _network_lines(sold: Catalogue, names: Sequence[str]) -> Iterator[str]:
    """Yield what makes the SDN network of ours, and how to see that it is there."""
    wanted = sdn_steps.of_catalogue(sold, names)
    pool = sdn_steps.pool_of(sold)
    if pool is None:
        return
    yield f"# must print nothing before {sdn_steps.VNET} is made, for {pool.subnet} must be free"
    yield (
        f"ip -4 route show root {pool.subnet};"
        f" ip -4 route show match {pool.subnet} | grep -v '^default'"
    )
    yield from commands.lines(wanted)
    yield f"# the zone {sdn_steps.ZONE} must be `available` on each node"
    yield from (f"pvesh get /nodes/{name}/sdn/zones" for name in names)


def _print_firewall(
    asked: Asked, settings: config.Settings, names: Sequence[str], operator: Operator
) -> None:
    places = _places(asked, settings, names, operator)
    sources = _sources(asked, operator)
    if not places or not sources:
        operator.tell(_NO_FIREWALL)
        return
    url = options.api_url(settings.pve_host)
    ports = (url.port or options.DEFAULT_PORT, asked.ways.ssh_port)
    wanted = list(firewall_steps.steps(places, sources, ports, narrows=True))
    operator.tell(_FIREWALL)
    _hand_out(_firewall_lines(wanted, places[0].node), operator)


def _firewall_lines(wanted: Sequence[steps.Step], node: str) -> Iterator[str]:
    """Yield the rules, what they change, and the switch between its timer and a test."""
    yield from commands.lines(wanted)
    yield "# these guests are filtered once the firewall is on; without a line, none is"
    yield "grep -s '^enable: 1' /etc/pve/firewall/[0-9]*.fw"
    yield f"# on {node}: switch on, behind a timer that switches the firewall off again"
    on = commands.command(administration.switch_firewall(on=True))
    yield f"{switching.timer_line(switching.Pace().timer_seconds)} && {on}"
    yield "# wait 12 s; then open a new SSH session and the web interface anew from where you work,"
    yield "# and run `pve402 ops doctor` on the service's machine. Only if all of that works:"
    yield f"# {switching.STOP}"


def _places(
    asked: Asked, settings: config.Settings, names: Sequence[str], operator: Operator
) -> list[firewall_steps.Place]:
    """Return the nodes as their rules need them; none if an address is not known."""
    known = known_hosts(asked)
    if len(names) == 1 and names[0] not in known:
        known[names[0]] = _resolved(settings.pve_host)
    for name in names:
        if operator.can_answer and not known.get(name):
            known[name] = addresses.parse([operator.ask(f"Address of the node {name}", None)])
    if not all(known.get(name) for name in names):
        return []
    sold = catalogue_file.catalogue_of(settings).networks_on_sale.values()
    bridges = {settings.pve_bridge, *(one.bridge for one in sold if one.zone is None)}
    return [
        firewall_steps.Place(node=name, hosts=known[name], bridges=tuple(sorted(bridges)))
        for name in names
    ]


def _sources(asked: Asked, operator: Operator) -> tuple[addresses.Network, ...]:
    if asked.ways.sources or not operator.can_answer:
        return addresses.parse(asked.ways.sources)
    question = f"{firewalling.SOURCES}, that of the service among them"
    return addresses.parse([operator.ask(question, addresses.of_ssh())])


def _resolved(host: str) -> tuple[addresses.Network, ...]:
    name = options.api_url(host).host or ""
    with suppress(OSError):
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return tuple(addresses.of_hosts(str(one[4][0]) for one in found))
    return ()


def _hand_out(lines: Iterator[str], operator: Operator) -> None:
    for line in lines:
        operator.hand_out(line)


def _ask_for_secret(asked: Asked, operator: Operator) -> None:
    secret = ""
    if operator.can_answer:
        question = "`value` that `pveum user token add` printed (empty: later)"
        secret = operator.ask_secret(question).strip()
    if secret:
        keep_secret(asked.env_file, secret)
        operator.tell(f"{asked.env_file} has the token's secret.")
    else:
        operator.tell(f"Then add {answers.SECRET}=... to {asked.env_file}: the token's `value`.")


def _nodes(asked: Asked, settings: config.Settings, operator: Operator) -> Sequence[str]:
    """Return the nodes to prepare. Raises Cancelled if they are not known, or are no names."""
    names = [*asked.node_addresses] or list(filter(None, [settings.pve_node]))
    if not names:
        if not operator.can_answer:
            raise Cancelled("say which nodes to prepare: --node pve, once for each")
        named = operator.ask("Nodes to prepare, with commas between them", "pve")
        names = [name.strip() for name in named.split(",") if name.strip()]
    for name in names:
        if not _NODE.fullmatch(name):  # it gets into lines for a root shell
            raise Cancelled(f"{name!r} is not the name of a node")
    return names
