"""The picture's bridge between servers and viewers that behave, and those that do not."""

import asyncio
from collections.abc import Iterable

import pytest

from pve402.hub import errors, vnc
from pve402.proxmox import errors as pve
from pve402.proxmox import vnc as rfb
from pve402.proxmox.guests import GuestRef, VncTicket
from pve402.proxmox.upid import Upid

PASSWORD = "secret12"
CHALLENGE = bytes(range(16))
GUEST = GuestRef(node="pve", vmid=100)
UPID = Upid.parse("UPID:pve:00000001:00000001:6B01E97E:vncproxy:100:svc@pve!test:")


class Message:
    """A websocket message as aiohttp gives it."""

    def __init__(self, data: bytes | None) -> None:
        import aiohttp

        self.type = aiohttp.WSMsgType.CLOSED if data is None else aiohttp.WSMsgType.BINARY
        self.data = data


class Server:
    """A VNC server's websocket: says one piece at a time, and keeps what it is sent."""

    def __init__(self, says: Iterable[bytes], *, hangs: bool = False) -> None:
        self._says = list(says)
        self._hangs = hangs
        self.heard = b""
        self.closed = False

    async def receive(self) -> Message:
        if self._says:
            return Message(self._says.pop(0))
        if self._hangs and not self.closed:
            await asyncio.Event().wait()
        return Message(None)

    async def send_bytes(self, data: bytes) -> None:
        if self.closed:
            raise RuntimeError("closed")
        self.heard += data

    async def close(self) -> None:
        self.closed = True


class FakeGuests:
    """Opens a scripted server."""

    def __init__(self, server: Server, *, refuses: Exception | None = None) -> None:
        self.server = server
        self.refuses = refuses

    async def open_vnc(self, ref: GuestRef) -> VncTicket:
        if self.refuses is not None:
            raise self.refuses
        return VncTicket(user="u", ticket="t", password=PASSWORD, port=5900, upid=UPID)

    async def connect(self, ref: GuestRef, ticket: VncTicket) -> Server:
        return self.server


OPENING = (rfb.VERSION, b"\x01\x02", CHALLENGE, bytes(4))


def opener(*servers: Server, refuses: Exception | None = None) -> vnc.VncConnector:
    ways = [FakeGuests(server) for server in servers]
    ways[0].refuses = refuses
    return vnc.VncConnector(*ways)  # type: ignore[arg-type]


async def test_the_password_is_answered_and_what_follows_is_kept() -> None:
    server = Server([*OPENING[:-1], OPENING[-1] + b"behind"])

    stream = await opener(server)(GUEST)

    assert server.heard == rfb.VERSION + b"\x02" + rfb.answer_challenge(PASSWORD, CHALLENGE)
    assert await stream.receive() == b"behind"


async def test_an_opening_may_come_byte_by_byte() -> None:
    server = Server(bytes([byte]) for byte in b"".join(OPENING))

    assert await opener(server)(GUEST)


@pytest.mark.parametrize(
    "says",
    [
        [],
        [b"RFB 003.003\n"],
        [b"HTTP/1.1 400 Bad"],
        [rfb.VERSION, b"\0", b"\0\0\0\5", b"sorry"],
        [rfb.VERSION, b"\x01\x01"],
        [rfb.VERSION, b"\xff" + bytes(200)],
        [*OPENING[:-1], b"\0\0\0\1"],
        [b"\0" * 1_000_000],
    ],
    ids=["gone", "old", "http", "refuses", "no-password", "many-types", "wrong", "noise"],
)
async def test_a_server_that_is_none_is_unreachable_and_closed(says: list[bytes]) -> None:
    server = Server(says)

    with pytest.raises(errors.TerminalUnreachable):
        await opener(server)(GUEST)

    assert server.closed


async def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vnc, "HANDSHAKE_SECONDS", 0.05)
    server = Server([], hangs=True)

    with pytest.raises(errors.TerminalUnreachable):
        await opener(server)(GUEST)

    assert server.closed


async def test_where_the_token_is_refused_the_console_user_opens() -> None:
    dropping, good = Server([rfb.VERSION]), Server(OPENING)

    stream = await opener(dropping, good)(GUEST)

    assert stream is not None
    assert dropping.closed


@pytest.mark.parametrize(
    ("refusal", "raised"),
    [
        (pve.PermissionDenied("no", call="POST"), errors.TerminalUnreachable),
        (pve.GuestMissing("gone", call="POST"), errors.GuestNotRunning),
        (pve.Unreachable("away", call="POST"), errors.TerminalUnreachable),
    ],
)
async def test_refusals_of_proxmox_are_told_in_our_words(
    refusal: Exception, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        await opener(Server([]), refuses=refusal)(GUEST)


async def channel(*says: bytes, hangs: bool = False) -> tuple[vnc.VncChannel, Server]:
    server = Server([*OPENING, *says], hangs=hangs)
    return vnc.VncChannel(await opener(server)(GUEST)), server


async def test_a_viewer_sees_no_authentication_and_then_the_server_itself() -> None:
    made, server = await channel(b"picture")
    before = len(server.heard)

    seen = [await made.read()]
    await made.write(rfb.VERSION)
    seen.append(await made.read())
    await made.write(b"\x01" + b"client-init")
    seen += [await made.read(), await made.read()]

    assert seen == [rfb.VERSION, b"\x01\x01", bytes(4), b"picture"]
    assert server.heard[before:] == b"client-init"
    assert await made.read() is None
    assert made.close_reason == "session_lost"


@pytest.mark.parametrize(
    "says",
    [
        [b"RFB 003.003\n"],
        [b"GET / HTTP/1.1\r\n\r\n"],
        [rfb.VERSION, b"\x02"],
        [b"\0" * 5000],
        [rfb.VERSION[:4]] * 2000,
    ],
    ids=["old", "http", "wants-password", "noise", "endless"],
)
async def test_a_viewer_that_is_none_is_turned_away(says: list[bytes]) -> None:
    made, server = await channel(hangs=True)
    before = server.heard

    for data in says:
        await made.write(data)
    while await made.read() is not None:
        pass

    assert made.close_reason == "refused"
    assert server.heard == before


async def test_a_closed_channel_says_nothing_more() -> None:
    made, server = await channel(hangs=True)

    await made.close()
    await made.write(rfb.VERSION)

    assert await made.read() is None
    assert server.closed
