"""Browser consoles: single-use links."""

from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import leases as lease_messages
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.sockets import channels
from pve402.api.transport import body, routing
from pve402.domain import power
from pve402.domain.lease import Lease
from pve402.guests import consoles, direct_consoles, guest_work
from pve402.guests.consoles import Kind
from pve402.hub import errors as hub_errors
from pve402.proxmox import options as pve_options

router = routing.Router("console")

#: Proxmox VE waits 10 s for a client to connect to a new console.
_TICKET_SECONDS: Final = 10
_DESCRIPTION: Final = "Open a container's console"
KINDS: Final = {"vnc": Kind.VNC, "spice": Kind.VNC, "terminal": Kind.TERMINAL}


@router.post("/management/console/{ctid}", **operations.console())
async def open_console(request: Request) -> Response:
    """Create a link to the container's terminal, or to its screen over VNC.

    The link works once, within two minutes. Programs connect to `websocketUrl` and send the
    ticket as their first message.
    """
    call = await caller.admit(request, scope="console", description=_DESCRIPTION, find_lease=True)
    if isinstance(call, Response):
        return call
    app = context.of(request)
    await app.leases.require_active(call.the_lease)
    wish = body.parse(await body.read(request) or b"{}", schemas.ConsoleRequest)
    kind = KINDS[wish.console_type]
    if not await app.leases.check_use(call.the_lease, power.Use.CONSOLE):
        await _check_guest(app.work, call, kind)
    await call.charge()
    used = await app.leases.wake_for(call.the_lease, power.Use.CONSOLE)
    if app.work.direct is not None:
        console = await app.work.direct.open(used, vnc=kind is Kind.VNC)
        return reply.respond(direct_answer(app.work.direct.console_host, used, kind, console))
    issued = await app.work.consoles.issue(used, kind, caller.token_text(request))
    return reply.respond(_answer(app.gate.public_url, used, kind, issued))


async def _check_guest(work: guest_work.GuestWork, call: caller.Call, kind: Kind) -> None:
    """Check that the console is available before the fee is settled.

    We do not open a terminal for a caller whose signature is only verified at settlement. If
    another replica holds the terminal, we find out only by opening the console.
    """
    guest = guest_work.ref(call.the_lease)
    await work.open_vnc.check(guest)
    if work.direct is not None:
        await work.direct.check(call.the_lease)
        return
    if call.caller.how == "payment" and not call.caller.by_key:
        return
    try:
        if kind is Kind.TERMINAL:
            await work.hub.check_console(guest)
        else:
            async with work.hub.reserve_terminal(guest, "vnc"):
                return
    except hub_errors.Moved:
        return


def _answer(
    public_url: str, lease: Lease, kind: Kind, issued: consoles.Issued
) -> schemas.ConsoleAnswer:
    parts = urlsplit(public_url)
    secure = parts.scheme == "https"
    scheme = "wss" if secure else "ws"
    websocket = f"{scheme}://{parts.netloc}{channels.PATHS[kind]}"
    return schemas.ConsoleAnswer(
        ctid=lease.ctid,
        host=parts.hostname or "",
        port=parts.port or (443 if secure else 80),
        ticket=issued.ticket,
        user=lease_messages.owner_wallet(lease.owner),
        cert="",
        websocket=None,
        proxy=public_url,
        console_url=f"{public_url}/console/{kind.value}#{issued.ticket}",
        websocket_url=websocket,
        expires_at=issued.expires_at,
    )


def direct_answer(
    console_host: str, lease: Lease, kind: Kind, console: direct_consoles.DirectConsole
) -> schemas.ConsoleAnswer:
    """Describe a Proxmox VE console; its websocket needs the login as a cookie.

    The link has the login after the `#`, so browsers do not send it to any server. The person who
    opens the link sets the cookie first (docs/how-to/console.md).
    """
    root = pve_options.api_url(console_host).origin()
    ticket = console.ticket
    path = f"/api2/json/nodes/{lease.node}/lxc/{lease.vmid}/vncwebsocket"
    query = urlencode({"port": ticket.port, "vncticket": ticket.ticket}, quote_via=quote, safe="")
    websocket = f"{'wss' if root.scheme == 'https' else 'ws'}://{root.authority}{path}?{query}"
    viewer = "novnc" if kind is Kind.VNC else "xtermjs"
    page = urlencode({"console": "lxc", viewer: 1, "vmid": lease.vmid, "node": lease.node})
    return schemas.ConsoleAnswer(
        ctid=lease.ctid,
        host=root.host or "",
        port=ticket.port,
        ticket=ticket.ticket,
        user=console.login.username,
        cert="",
        websocket=None,
        proxy=str(root),
        console_url=f"{root}?{page}#{console.login.cookie()}",
        websocket_url=websocket,
        expires_at=datetime.now(UTC) + timedelta(seconds=_TICKET_SECONDS),
    )
