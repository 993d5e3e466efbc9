"""The graphical console: a VNC client logs in, sees the terminal and types into it."""

import asyncio
import struct

import pytest
from devnet.tests.integration.terminal.conftest import Serve
from devnet.tests.support.console_client import Console

from pve402_devnet.terminal import font, rfb
from pve402_devnet.terminal.manners import SessionEnd, TerminalManners

pytestmark = pytest.mark.namespaces

STAYS = TerminalManners(end=SessionEnd.STAYS_OPEN)
WIDTH, HEIGHT = 480, 240


async def log_in(console: Console, password: str) -> bytes:
    """Do the handshake; return the result of the authentication."""
    assert await console.read_bytes(12) == rfb.VERSION
    await console.send(rfb.VERSION)
    assert await console.read_bytes(2) == b"\x01\x02"
    await console.send(b"\x02")
    challenge = await console.read_bytes(16)
    await console.send(rfb.answer_challenge(password, challenge))
    return await console.read_bytes(4)


async def start(console: Console) -> None:
    """Log in and read the size of the screen."""
    assert await log_in(console, console.answer["password"]) == bytes(4)
    await console.send(b"\x01")
    width, height = struct.unpack(">HH16x", await console.read_bytes(20))
    assert (width, height) == (WIDTH, HEIGHT)
    (length,) = struct.unpack(">I", await console.read_bytes(4))
    assert await console.read_bytes(length) == b"CT 140"


async def press(console: Console, keys: str) -> None:
    for key in keys:
        keysym = 0xFF0D if key == "\n" else ord(key)
        await console.send(struct.pack(">BBxxI", 4, 1, keysym))
        await console.send(struct.pack(">BBxxI", 4, 0, keysym))


async def read_screen(console: Console) -> list[str]:
    """Ask for the whole screen and read the text off its pixels."""
    await console.send(struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT))
    kind, count = struct.unpack(">BxH", await console.read_bytes(4))
    assert (kind, count) == (0, 24)
    lines = []
    for row in range(count):
        x, y, width, height, encoding = struct.unpack(">HHHHi", await console.read_bytes(12))
        assert (x, y, width, height, encoding) == (0, row * 10, WIDTH, 10, 0)
        lines.append(read_row(await console.read_bytes(WIDTH * 10 * 4)))
    return lines


def read_row(pixels: bytes) -> str:
    lit = [byte > 0 for byte in pixels[::4]]
    return "".join(read_cell(lit, column) for column in range(80)).rstrip()


def read_cell(lit: list[bool], column: int) -> str:
    width = font.CELL_WIDTH
    rows = tuple(
        sum(lit[y * WIDTH + column * width + x] << (width - 1 - x) for x in range(width))
        for y in range(font.CELL_HEIGHT)
    )
    return GLYPHS.get(rows, "?")


GLYPHS = {font.rows(chr(code)): chr(code) for code in range(0x20, 0x7F)}


async def until_shown(console: Console, text: str) -> list[str]:
    async with asyncio.timeout(10):
        lines = await read_screen(console)
        while text not in lines:
            lines = await read_screen(console)
    return lines


def test_every_glyph_is_different() -> None:
    assert len(GLYPHS) == 95


async def test_keys_are_typed_and_their_output_is_drawn(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.connect(140, "vncproxy", websocket=1)
        await start(console)
        await until_shown(console, "/ #")
        await press(console, "echo 'Hello, World!' | tr l L\n")
        lines = await until_shown(console, "HeLLo, WorLd!")
        assert "/ # echo 'Hello, World!' | tr l L" in lines


async def test_the_graphical_and_the_text_console_share_one_shell(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        text = await bench.client.open(140)
        graphical = await bench.client.connect(140, "vncproxy", websocket=1)
        await start(graphical)
        await text.type(b"X=shared\n")
        await until_shown(graphical, "/ # X=shared")
        await press(graphical, "echo $X\n")
        await text.read_until(b"shared\r\r\n")


async def test_an_incremental_request_is_answered_when_something_changes(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.connect(140, "vncproxy", websocket=1)
        await start(console)
        await until_shown(console, "/ #")
        await console.send(struct.pack(">BBHHHH", 3, 1, 0, 0, WIDTH, HEIGHT))
        assert await console.read_quiet(0.2) == b""
        await press(console, "x")
        kind, count = struct.unpack(">BxH", await console.read_bytes(4))
        assert kind == 0
        assert 1 <= count < 24


async def test_a_wrong_password_is_refused(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.connect(140, "vncproxy", websocket=1)
        assert await log_in(console, "wrong") == b"\0\0\0\x01"
        assert await console.wait_closed() == b"\0\0\0\x15Authentication failed"


async def test_the_end_of_the_shell_closes_the_connection(serve: Serve) -> None:
    async with serve(STAYS) as bench:
        console = await bench.client.connect(140, "vncproxy", websocket=1)
        await start(console)
        await until_shown(console, "/ #")
        await press(console, "exit\n")
        await console.wait_closed()
