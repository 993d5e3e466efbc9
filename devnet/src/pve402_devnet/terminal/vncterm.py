"""One run of vncterm: the guest's terminal drawn into a framebuffer, keys typed into it."""

import asyncio

from pve402_devnet.pve.runtime import ConsoleSession
from pve402_devnet.terminal import font, keys, rfb, screen, shared
from pve402_devnet.terminal.manners import TerminalManners
from pve402_devnet.terminal.peers import Peer
from pve402_devnet.terminal.sessions import GuestStopped, Terminals

_COLUMNS, _ROWS = 80, 24
_FOREGROUND, _BACKGROUND = (224, 224, 224), (0, 0, 0)


class VnctermWorker:
    """Serves one VNC client until it leaves or the terminal ends (`shared.Client`)."""

    def __init__(
        self,
        *,
        session: ConsoleSession,
        peer: Peer,
        terminals: Terminals,
        manners: TerminalManners,
    ) -> None:
        self._session = session
        self._manners = manners
        self._peer = peer
        self._terminals = terminals
        self._terminal: shared.SharedTerminal | None = None
        self._keyboard = keys.Keyboard()
        self._screen = screen.Screen(_COLUMNS, _ROWS, self._type)
        self._painter = Painter(rfb.PixelFormat())
        self._wanted = False
        self._drawing: asyncio.TimerHandle | None = None
        self._rfb = rfb.Server(
            password=session.password,
            width=_COLUMNS * font.CELL_WIDTH,
            height=_ROWS * font.CELL_HEIGHT,
            name=f"CT {session.vmid}",
        )

    async def run(self) -> None:
        """Serve the client until it leaves."""
        attaching = asyncio.create_task(self._attach())
        try:
            self._send_outgoing()
            while data := await self._peer.receive():
                self._on_bytes(data)
        except rfb.ProtocolError:
            self._send_outgoing()
        finally:
            attaching.cancel()
            if self._drawing:
                self._drawing.cancel()
            if self._terminal:
                self._terminal.detach(self)

    def deliver(self, data: bytes) -> None:
        """Draw output; the client sees it when it asks."""
        self._screen.feed(data)
        self._draw_soon()

    def has_room(self) -> bool:
        """A screen takes any amount: what scrolls away is not sent."""
        return True

    def on_end(self) -> None:
        """The program has ended: vncterm ends with it."""
        self._terminal = None
        self._peer.drop()

    async def _attach(self) -> None:
        try:
            self._terminal = await self._terminals.get(self._session.vmid, self._session.cmode)
        except GuestStopped as stopped:
            self.deliver(shared.CLEAR + stopped.text)
            return
        self._terminal.attach(self)
        self._terminal.resize(_COLUMNS, _ROWS)

    def _on_bytes(self, data: bytes) -> None:
        for event in self._rfb.feed(data):
            if isinstance(event, rfb.KeyPressed):
                self._type(self._keyboard.press(event.keysym, down=event.down))
            elif isinstance(event, rfb.FormatChosen):
                self._painter = Painter(event.pixels)
            else:
                self._request(event)
        self._send_outgoing()

    def _request(self, event: rfb.UpdateRequested) -> None:
        self._wanted = True
        if not event.incremental:
            self._screen.changed.update(range(_ROWS))
        self._draw_soon()

    def _type(self, data: bytes) -> None:
        if self._terminal and data:
            self._terminal.write(data)

    def _draw_soon(self) -> None:
        if self._wanted and self._screen.changed and not self._drawing:
            loop = asyncio.get_running_loop()
            self._drawing = loop.call_later(self._manners.picture_seconds, self._draw)

    def _draw(self) -> None:
        self._drawing = None
        self._wanted = False
        width = _COLUMNS * font.CELL_WIDTH
        rectangles = [
            (0, row * font.CELL_HEIGHT, width, font.CELL_HEIGHT, self._paint(row))
            for row in sorted(self._screen.changed)
        ]
        self._screen.changed.clear()
        self._peer.send(self._rfb.update(rectangles))

    def _paint(self, row: int) -> bytes:
        return self._painter.paint(self._screen.line(row))

    def _send_outgoing(self) -> None:
        if self._rfb.outgoing:
            self._peer.send(bytes(self._rfb.outgoing))
            self._rfb.outgoing.clear()


class Painter:
    """Turns a row of text into raw pixels of one format; remembers glyphs."""

    def __init__(self, pixels: rfb.PixelFormat) -> None:
        self._shades = (pixels.pack(_BACKGROUND), pixels.pack(_FOREGROUND))
        self._glyphs: dict[str, tuple[bytes, ...]] = {}

    def paint(self, text: str) -> bytes:
        """Draw one row of cells, top pixel row first."""
        glyphs = [self._glyph(character) for character in text]
        return b"".join(glyph[y] for y in range(font.CELL_HEIGHT) for glyph in glyphs)

    def _glyph(self, character: str) -> tuple[bytes, ...]:
        found = self._glyphs.get(character)
        if found is None:
            found = tuple(self._pixels(row) for row in font.rows(character))
            if len(self._glyphs) < 1024:
                self._glyphs[character] = found
        return found

    def _pixels(self, row: int) -> bytes:
        width = font.CELL_WIDTH
        return b"".join(self._shades[row >> (width - 1 - x) & 1] for x in range(width))
