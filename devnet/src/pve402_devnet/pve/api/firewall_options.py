"""Options, references and logs of the firewalls."""

from pve402_devnet.pve import errors, formats, rest
from pve402_devnet.pve.api import firewall_scopes as scopes
from pve402_devnet.pve.firewall import files, macros
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Properties, Property

_LOG = text(enum=scopes.LOG_LEVELS)
_POLICY = text(enum=("ACCEPT", "REJECT", "DROP"))
_FORWARD_POLICY = text(enum=("ACCEPT", "DROP"))
_NO_LOG = "unable to open file - No such file or directory"

GUEST_OPTIONS: Properties = {
    "enable": flag(),
    "macfilter": flag(),
    "dhcp": flag(),
    "ndp": flag(),
    "radv": flag(),
    "ipfilter": flag(),
    "policy_in": _POLICY,
    "policy_out": _POLICY,
    "log_level_in": _LOG,
    "log_level_out": _LOG,
}
NODE_OPTIONS: Properties = {
    "enable": flag(),
    "log_level_in": _LOG,
    "log_level_out": _LOG,
    "log_level_forward": _LOG,
    "tcp_flags_log_level": _LOG,
    "smurf_log_level": _LOG,
    "nosmurfs": flag(),
    "tcpflags": flag(),
    "nf_conntrack_max": number(32_768),
    "nf_conntrack_tcp_timeout_established": number(7875),
    "nf_conntrack_tcp_timeout_syn_recv": number(30, 60),
    "ndp": flag(),
    "nf_conntrack_allow_invalid": flag(),
    "nf_conntrack_helpers": text(),
    "protection_synflood": flag(),
    "protection_synflood_rate": number(),
    "protection_synflood_burst": number(),
    "log_nf_conntrack": flag(),
    "nftables": flag(),
}
CLUSTER_OPTIONS: Properties = {
    "enable": number(0),
    "ebtables": flag(),
    "policy_in": _POLICY,
    "policy_out": _POLICY,
    "policy_forward": _FORWARD_POLICY,
    "log_ratelimit": Property(
        optional=True,
        parts={
            "enable": Property(type="boolean", default_key=True),
            "rate": text(pattern=r"[1-9][0-9]*\/(second|minute|hour|day)"),
            "burst": number(0),
        },
    ),
}


def _reading(scope: scopes.Scope) -> rest.Handler:
    async def read(call: rest.Call) -> rest.Json:
        """What was set; defaults are not shown."""
        return files.with_digest(scope.file(call).options)

    return read


def _writing(scope: scopes.Scope, known: Properties) -> rest.Handler:
    async def write(call: rest.Call) -> rest.Json:
        """Set and delete options."""
        options = scope.file(call).options
        scopes.require_digest(call, [options])
        deleted = formats.split_list(call.text("delete"))
        for name in deleted:
            if name not in known:
                raise errors.ParameterErrors({"delete": f"no such option '{name}'"})
        for name in deleted:
            options.pop(name, None)
        options.update({name: call.params[name] for name in known if name in call.params})
        return None

    return write


def _options(scope: scopes.Scope, known: Properties) -> tuple[rest.Route, ...]:
    changes = {**known, "delete": text(format="pve-configid-list"), "digest": scopes.DIGEST}
    return (
        scope.read("/options", _reading(scope)),
        scope.write("PUT", "/options", _writing(scope, known), **changes),
    )


async def _log(call: rest.Call) -> rest.Json:
    """The lines that rules have logged: there are none, and no file that would hold them."""
    return rest.Reply(data=[{"n": 1, "t": _NO_LOG}], total=1)


async def _list_macros(call: rest.Call) -> rest.Json:
    """The services that rules may name."""
    return [{"macro": name, "descr": f"{name} traffic"} for name in sorted(macros.MACROS)]


async def _cluster_references(call: rest.Call) -> rest.Json:
    """Sets and aliases of the datacenter."""
    return _references(call, call.world.firewalls.cluster, "dc")


async def _guest_references(call: rest.Call) -> rest.Json:
    """Sets and aliases that a guest's rules may name: the datacenter's and its own."""
    firewalls = call.world.firewalls
    return [
        *_references(call, firewalls.cluster, "dc"),
        *_references(call, firewalls.read_guest(call.vmid), "guest"),
    ]


def _references(call: rest.Call, file: files.FirewallFile, scope: str) -> list[files.Entry]:
    sets = [("ipset", name, f"+{name}", one.comment) for name, one in file.sets.items()]
    aliases = [
        ("alias", name, name, str(one.get("comment", ""))) for name, one in file.aliases.items()
    ]
    rows: list[files.Entry] = []
    for kind, name, reference, comment in (*sets, *aliases):
        if call.text("type") in ("", kind):
            row: files.Entry = {"type": kind, "name": name, "ref": reference, "scope": scope}
            rows.append({**row, "comment": comment} if comment else row)
    return rows


_REFERENCE_TYPE = text(enum=("alias", "ipset"))
_LINES = {
    "start": number(0),
    "limit": number(0),
    "since": number(0),
    "until": number(0),
}

ROUTES = (
    scopes.open_index(scopes.GUEST, "rules", "aliases", "ipset", "refs", "options"),
    scopes.open_index(scopes.NODE, "rules", "options", "log"),
    scopes.open_index(
        scopes.CLUSTER, "aliases", "groups", "ipset", "macros", "options", "refs", "rules"
    ),
    *_options(scopes.GUEST, GUEST_OPTIONS),
    *_options(scopes.NODE, NODE_OPTIONS),
    *_options(scopes.CLUSTER, CLUSTER_OPTIONS),
    scopes.GUEST.read("/log", _log, "VM.Console", **_LINES),
    scopes.NODE.read("/log", _log, "Sys.Syslog", **_LINES),
    scopes.GUEST.read("/refs", _guest_references, type=_REFERENCE_TYPE),
    scopes.CLUSTER.read("/refs", _cluster_references, type=_REFERENCE_TYPE),
    rest.Route(
        method="GET",
        path="/cluster/firewall/macros",
        handler=_list_macros,
        permission=rest.any_user,
    ),
)
