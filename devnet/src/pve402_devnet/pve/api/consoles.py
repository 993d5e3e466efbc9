"""`termproxy`, `vncproxy` and `vncwebsocket`: console ports and their tickets."""

from dataclasses import dataclass, field

from pve402_devnet.pve import cluster, console, guest_schema, rest, runtime, tasks, tickets
from pve402_devnet.pve.guest_schema import flag, number
from pve402_devnet.pve.schema import Property

_GUEST = "/nodes/{node}/lxc/{vmid}"


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """The arguments of a console worker."""

    kind: runtime.ConsoleKind
    port: int
    command: str
    ticket: str = field(repr=False)
    password: str = field(default="", repr=False)


async def open_term(call: rest.Call) -> rest.Json:
    """Open a terminal on a free port, even of a stopped guest."""
    guest = call.guest
    port, ticket = _reserve(call)
    command = (
        f"/usr/bin/termproxy {port} --path /vms/{call.vmid} --perm VM.Console"
        f" --vncticket-endpoint --verify-port --ticket-fd 6 -- {_shell_command(guest)}"
    )
    opening = _Opening(kind=runtime.ConsoleKind.TERM, port=port, ticket=ticket, command=command)
    upid = _start(call, guest, opening)
    return {"user": call.user, "ticket": ticket, "port": str(port), "upid": upid}


async def open_vnc(call: rest.Call) -> rest.Json:
    """Open a VNC server on a free port; for a websocket it gets its own password."""
    guest, by_websocket = call.guest, call.flag("websocket")
    port, ticket = _reserve(call)
    size = "".join(f" -{n} {call.params[n]}" for n in ("width", "height") if n in call.params)
    local = " -notls -listen localhost" if by_websocket else ""
    opening = _Opening(
        kind=runtime.ConsoleKind.VNC,
        port=port,
        ticket=ticket,
        command=f"/usr/bin/vncterm -rfbport {port} -timeout 10 -authpath /vms/{call.vmid}"
        f" -perm VM.Console -verify-port{size}{local} -c {_shell_command(guest)}",
        password=tickets.draw_vnc_password() if by_websocket else "",
    )
    answer = {
        "user": call.user,
        "ticket": f"{opening.password}:{ticket}" if by_websocket else ticket,
        "port": str(port),
        "upid": _start(call, guest, opening),
        "cert": call.world.root_certificate,
    }
    return {**answer, "password": opening.password} if by_websocket else answer


async def websocket(call: rest.Call) -> rest.Json:
    """Check a console ticket; the server upgrades the connection if it is valid."""
    port = call.integer("port", 0)
    call.world.tickets.require_console(call.text("vncticket"), call.user, f"/vms/{call.vmid}", port)
    return {"port": str(port)}


def _reserve(call: rest.Call) -> tuple[int, str]:
    port = console.free_port(call.world)
    return port, call.world.tickets.issue_console(call.user, f"/vms/{call.vmid}", port)


def _shell_command(guest: cluster.Guest) -> str:
    vmid = guest.vmid
    inner = {
        "shell": f"lxc-attach --clear-env -n {vmid}",
        "tty": f"lxc-console -n {vmid} -e -1",
        "console": f"lxc-console -n {vmid} -t 0 -e -1",
    }[guest.config.text("cmode", "tty")]
    return f"/usr/bin/dtach -A /var/run/dtach/vzctlconsole{vmid} -r winch -z {inner}"


def _start(call: rest.Call, guest: cluster.Guest, opening: _Opening) -> str:
    world, port = call.world, opening.port

    async def work(_: tasks.Task) -> None:
        session = world.consoles[port]
        if opening.kind is runtime.ConsoleKind.TERM:
            await world.terminal.open_term(session)
        else:
            await world.terminal.open_vnc(session)

    upid = world.tasks.fork(call.node, "vncproxy", str(call.vmid), call.user, work)
    task = world.tasks.require(upid)
    task.when_ended(lambda: world.consoles.pop(port, None))
    world.consoles[port] = runtime.ConsoleSession(
        kind=opening.kind,
        node=guest.node,
        vmid=guest.vmid,
        port=port,
        user=call.user,
        cmode=guest.config.text("cmode", "tty"),
        upid=upid,
        command=opening.command,
        ticket=opening.ticket,
        password=opening.password,
        log=task.log,
    )
    return upid


def _route(method: str, name: str, handler: rest.Handler, **parameters: Property) -> rest.Route:
    return rest.Route(
        method=method,
        path=f"{_GUEST}/{name}",
        handler=handler,
        permission=rest.needs("/vms/{vmid}", "VM.Console"),
        parameters={**guest_schema.OF_A_GUEST, **parameters},
        protected=method == "POST",
    )


ROUTES = (
    _route("POST", "termproxy", open_term),
    _route(
        "POST",
        "vncproxy",
        open_vnc,
        websocket=flag(),
        width=number(16, 4096),
        height=number(16, 2160),
    ),
    _route(
        "GET",
        "vncwebsocket",
        websocket,
        vncticket=Property(max_length=512),
        port=Property(type="integer", minimum=5900, maximum=5999),
    ),
)
