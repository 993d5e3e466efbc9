"""Consoles: the websocket that is opened, and what passes through it."""

import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMsgType, web
from tests.support import certificates
from tests.support.certificates import Certificate

from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.guests import GuestRef, Guests, TerminalTicket
from pve402.proxmox.upid import Upid

REF = GuestRef(node="pve", vmid=101)
TICKET = TerminalTicket(
    user="svc@pve!test",
    ticket="PVEVNC:6B01E963::sig+na/ture==",
    port=5902,
    upid=Upid.parse("UPID:pve:00001492:00097C11:6B01E963:vncproxy:101:svc@pve!test:"),
)


class Console:
    """A server that returns what it is sent and keeps how it was asked."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.compressed = False
        self.times = 1

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        self.asked.append(request)
        socket = web.WebSocketResponse(protocols=("binary",))
        await socket.prepare(request)
        self.compressed = bool(socket.compress)
        async for message in socket:
            await socket.send_bytes(message.data * self.times)
        return socket


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["http", "https"])
async def guests(
    console: Console, certificate: Certificate, request: pytest.FixtureRequest
) -> AsyncIterator[Guests]:
    context = None
    if request.param == "https":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.certificate, certificate.key)
    application = web.Application()
    application.router.add_get("/api2/json/nodes/pve/lxc/101/vncwebsocket", console.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    options = ProxmoxOptions(
        host=f"{request.param}://127.0.0.1:{runner.addresses[0][1]}",
        token_id="svc@pve!test",
        token_secret="secret",
        fingerprint_sha256=certificate.fingerprint_sha256,
    )
    async with ProxmoxClient(options) as client:
        yield Guests(client)
    await runner.cleanup()


async def test_a_console_is_opened_with_its_ticket_and_our_login(
    console: Console, guests: Guests
) -> None:
    socket = await guests.connect(REF, TICKET)
    await socket.close()

    (request,) = console.asked
    assert dict(request.query) == {"port": "5902", "vncticket": TICKET.ticket}
    assert request.headers["Authorization"] == "PVEAPIToken=svc@pve!test=secret"
    assert request.headers["Sec-WebSocket-Protocol"] == "binary"
    assert not console.compressed


async def test_every_byte_passes_unchanged(guests: Guests) -> None:
    payload = bytes(range(256)) * 512

    socket = await guests.connect(REF, TICKET)
    await socket.send_bytes(payload)
    message = await socket.receive()
    await socket.close()

    assert (message.type, message.data) == (WSMsgType.BINARY, payload)


async def test_consoles_do_not_take_the_slots_of_calls(console: Console, guests: Guests) -> None:
    sockets = [await guests.connect(REF, TICKET) for _ in range(40)]

    for socket in sockets:
        await socket.close()

    assert len(console.asked) == 40


async def test_a_message_beyond_all_reason_ends_the_socket(
    console: Console, guests: Guests
) -> None:
    console.times = 1024 * 1024 + 1

    socket = await guests.connect(REF, TICKET)
    await socket.send_bytes(b"x")
    message = await socket.receive()

    assert message.type is WSMsgType.ERROR
    assert socket.closed
